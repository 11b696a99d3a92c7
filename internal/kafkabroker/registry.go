package kafkabroker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Registry is a running Apicurio, a schema registry that speaks Confluent's API. It
// keeps schemas in memory.
type Registry struct {
	// URL is where Confluent's API begins.
	URL string

	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
}

// FindRegistry returns the registry's jar, in the folder that the environment variable
// TIDBCDC_REGISTRY_LIB names, and the java program. "make bin/registry" fills such a folder.
func FindRegistry() (jar, java string, err error) {
	const variable = "TIDBCDC_REGISTRY_LIB"
	lib := os.Getenv(variable)
	if lib == "" {
		return "", "", fmt.Errorf("%w: %s is not set (make bin/registry)", ErrMissing, variable)
	}
	jars, err := filepath.Glob(filepath.Join(lib, "apicurio-registry-app-*-runner.jar"))
	if err != nil || len(jars) == 0 {
		return "", "", fmt.Errorf("%w: no apicurio-registry-app-*-runner.jar in %s=%s", ErrMissing, variable, lib)
	}
	if java, err = exec.LookPath("java"); err != nil {
		return "", "", fmt.Errorf("%w: %w", ErrMissing, err)
	}
	return jars[0], java, nil
}

// StartRegistry runs a registry on a port of its own until Close. ctx bounds the starting
// only. log gets what it writes; nil discards it.
func StartRegistry(ctx context.Context, log io.Writer) (*Registry, error) {
	jar, java, err := FindRegistry()
	if err != nil {
		return nil, fmt.Errorf("start a schema registry: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	addr := l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	if err := l.Close(); err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	if log == nil {
		log = io.Discard
	}
	cmd := exec.Command(java, "-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dquarkus.http.host=127.0.0.1", "-Dquarkus.http.port="+port,
		"-Dquarkus.log.file.enable=false", "-jar", jar)
	cmd.SysProcAttr = childAttributes()
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", java, err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run %s: %w", java, err)
	}
	r := &Registry{URL: "http://" + addr + "/apis/ccompat/v6", cmd: cmd, exited: make(chan struct{})}
	// Ends with the process, whose output then is at its end.
	go func() {
		lines := bufio.NewReader(output)
		_, _ = lines.WriteTo(log)
		_ = cmd.Wait()
		close(r.exited)
	}()
	if err := r.await(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start a schema registry: %w", err), r.Close())
	}
	return r, nil
}

// await asks until there is an answer.
func (r *Registry) await(ctx context.Context) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	const pause = 100 * time.Millisecond
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+"/subjects", http.NoBody)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-r.exited:
			return fmt.Errorf("it ended: %s", r.cmd.ProcessState)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// Close ends the registry.
func (r *Registry) Close() error {
	if err := r.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end the schema registry: %w", err)
	}
	<-r.exited
	return nil
}
