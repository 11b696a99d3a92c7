package kafkabroker

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/tidbcdc/tidbcdc/internal/child"
)

// Registry is a running Apicurio, a schema registry that speaks Confluent's API. It
// keeps schemas in memory.
type Registry struct {
	// URL is where Confluent's API begins.
	URL string

	process *child.Process
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
	var addr string
	if err := child.FreeAddrs(&addr); err != nil {
		return nil, fmt.Errorf("start a schema registry: %w", err)
	}
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(java, "-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dquarkus.http.host=127.0.0.1", "-Dquarkus.http.port="+port,
		"-Dquarkus.log.file.enable=false", "-jar", jar)
	cmd.Stdout = log
	process, err := child.Start(ctx, cmd, child.Says("Listening on: "))
	if err != nil {
		return nil, fmt.Errorf("start a schema registry: %w", err)
	}
	return &Registry{URL: "http://" + addr + "/apis/ccompat/v6", process: process}, nil
}

// Close ends the registry.
func (r *Registry) Close() error { return r.process.Kill() }
