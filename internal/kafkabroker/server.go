// Package kafkabroker runs a real Apache Kafka as a child process: one node that
// is broker and controller (KRaft), in a directory and on ports of its own, for
// tests and benchmarks of the Kafka sink.
//
//	server, err := kafkabroker.Start(ctx, kafkabroker.Options{})
//	…
//	defer server.Close()
//	client := kafka.Client{Addr: kafka.TCP(server.Addr)}
//
// Starting takes some seconds, so the tests of a package share one and give each
// test topics of its own. Nothing has to be installed but Java: see [Find].
package kafkabroker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tidbcdc/tidbcdc/internal/child"
)

// Options say how to start a server. The zero value is valid.
type Options struct {
	// Properties are more lines of server.properties, such as message.max.bytes=1000.
	// They win over those that Start gives.
	Properties []string
	// User and Password make an account, and listeners on which it can log in: see
	// Server.SASLAddr. Without them there are none.
	User, Password string
	// Certificate is a PEM file with a private key in PKCS #8 and a chain of
	// certificates, CA a PEM file of certificates whom clients are issued by. They
	// make the listeners that use TLS.
	Certificate, CA string
	// Log gets what the server writes to its log; nil discards it.
	Log io.Writer
}

// Server is a running Kafka. Kill, Restart and Close are for one goroutine
// at a time.
type Server struct {
	// Addr is host:port without authentication or encryption. A restart keeps it
	// and the others.
	Addr string
	// SASLAddr wants an account by PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, or
	// OAUTHBEARER with any unsigned token whose subject is the user.
	SASLAddr string
	// SASLTLSAddr wants the same inside TLS.
	SASLTLSAddr string
	// TLSAddr wants a client's certificate.
	TLSAddr string

	java, classPath, dir string
	options              Options
	controller           string
	process              *child.Process
}

// Start makes a new data directory and runs a server on it until Close. ctx
// bounds the starting only.
func Start(ctx context.Context, o Options) (*Server, error) {
	classPath, java, err := Find()
	if err != nil {
		return nil, fmt.Errorf("start Kafka: %w", err)
	}
	dir, err := os.MkdirTemp("", "kafka-")
	if err != nil {
		return nil, fmt.Errorf("start Kafka: %w", err)
	}
	s := &Server{java: java, classPath: classPath, dir: dir, options: o}
	// Another process may take a port that was free a moment ago.
	const attempts = 3
	for range attempts {
		if err = s.format(ctx); err != nil {
			break
		}
		if err = s.Restart(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start Kafka: %w", err), s.Close())
	}
	return s, nil
}

// format chooses the ports, writes the settings and makes the data directory.
func (s *Server) format(ctx context.Context) error {
	if err := child.FreeAddrs(&s.Addr, &s.SASLAddr, &s.SASLTLSAddr, &s.TLSAddr, &s.controller); err != nil {
		return err
	}
	if err := os.RemoveAll(s.data()); err != nil {
		return fmt.Errorf("format: %w", err)
	}
	settings := strings.Join(append(s.properties(), s.options.Properties...), "\n")
	if err := os.WriteFile(s.path("server.properties"), []byte(settings), 0o600); err != nil {
		return fmt.Errorf("format: %w", err)
	}
	if err := os.WriteFile(s.path("log4j.properties"), []byte(log4j), 0o600); err != nil {
		return fmt.Errorf("format: %w", err)
	}
	// The id is any 16 bytes in base64.
	args := []string{"format", "-t", "dGlkYmNkYy1rYWZrYS0xMg", "-c", s.path("server.properties")}
	if s.options.User != "" {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, s.options.User, s.options.Password))
		}
	}
	if out, err := s.command(ctx, "kafka.tools.StorageTool", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("format the data directory: %w: %s", err, out)
	}
	return nil
}

const log4j = `log4j.rootLogger=INFO, stdout
log4j.logger.org.apache.kafka.clients=WARN
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=%d{ISO8601} %p %m (%c)%n
`

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }
func (s *Server) data() string            { return s.path("data") }

func (s *Server) properties() []string {
	listeners := []string{"PLAINTEXT://" + s.Addr, "CONTROLLER://" + s.controller}
	protocols := []string{"PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT"}
	var more []string
	sasl := func(listener string) {
		more = append(more, jaas(listener, s.options.User, s.options.Password)...)
	}
	if s.options.User != "" {
		listeners = append(listeners, "LOGIN://"+s.SASLAddr)
		protocols = append(protocols, "LOGIN:SASL_PLAINTEXT")
		sasl("login")
	}
	if s.options.Certificate != "" {
		listeners = append(listeners, "MUTUAL://"+s.TLSAddr)
		protocols = append(protocols, "MUTUAL:SSL")
		more = append(
			more, "ssl.keystore.type=PEM", "ssl.keystore.location="+s.options.Certificate,
			"ssl.truststore.type=PEM", "ssl.truststore.location="+s.options.CA, "listener.name.mutual.ssl.client.auth=required",
		)
		if s.options.User != "" {
			listeners = append(listeners, "SECURE://"+s.SASLTLSAddr)
			protocols = append(protocols, "SECURE:SASL_SSL")
			sasl("secure")
		}
	}
	advertised := slices.DeleteFunc(slices.Clone(listeners), func(l string) bool { return strings.HasPrefix(l, "CONTROLLER") })
	return append([]string{
		"process.roles=broker,controller", "node.id=1", "controller.quorum.voters=1@" + s.controller,
		"listeners=" + strings.Join(listeners, ","), "advertised.listeners=" + strings.Join(advertised, ","),
		"listener.security.protocol.map=" + strings.Join(protocols, ","),
		"controller.listener.names=CONTROLLER", "inter.broker.listener.name=PLAINTEXT",
		"log.dirs=" + s.data(), "auto.create.topics.enable=false", "group.initial.rebalance.delay.ms=0",
		"offsets.topic.replication.factor=1", "offsets.topic.num.partitions=1",
		"transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1", "transaction.state.log.num.partitions=2",
		// Until the session of a killed server has timed out, it cannot start anew.
		"broker.session.timeout.ms=2000", "broker.heartbeat.interval.ms=500",
	}, more...)
}

// jaas lets a user log in at a listener by every mechanism.
func jaas(listener, user, password string) []string {
	prefix := "listener.name." + listener + "."
	return []string{
		prefix + "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
		fmt.Sprintf(`%splain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_%s="%s";`, prefix, user, password),
		prefix + "scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
		prefix + "scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
		prefix + `oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
	}
}

func (s *Server) command(ctx context.Context, class string, args ...string) *exec.Cmd {
	args = append([]string{
		"-Xmx512m", "-XX:+UseG1GC", "-XX:TieredStopAtLevel=" + tier(class), "-Djava.awt.headless=true",
		"-Dlog4j.configuration=file:" + s.path("log4j.properties"), "-cp", s.classPath, class,
	}, args...)
	return exec.CommandContext(ctx, s.java, args...)
}

// tier keeps a short program from being compiled for speed.
func tier(class string) string {
	if class == "kafka.Kafka" {
		return "4"
	}
	return "1"
}

// Restart starts the server again after Kill, on the same data and
// addresses, and waits until it accepts connections.
func (s *Server) Restart(ctx context.Context) (err error) {
	if s.process.PID() != 0 {
		return errors.New("restart Kafka: it is running")
	}
	cmd := s.command(context.WithoutCancel(ctx), "kafka.Kafka", s.path("server.properties"))
	cmd.Stdout = s.options.Log
	s.process, err = child.Start(ctx, cmd, child.Says("Kafka Server started"))
	return err
}

// Kill ends the server as a power failure would, as far as it is concerned.
// The data stays.
func (s *Server) Kill() error { return s.process.Kill() }

// Pause stops the server's process where it is: connections stay open and
// nothing answers. Call resume.
func (s *Server) Pause() (resume func() error, err error) { return s.process.Pause() }

// Close ends the server and deletes its data.
func (s *Server) Close() error {
	return errors.Join(s.Kill(), os.RemoveAll(s.dir))
}
