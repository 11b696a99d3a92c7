package kafkabroker

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// ErrMissing is wrapped by what Find and FindRegistry return if a server's files or Java are not there.
var ErrMissing = errors.New("the server cannot run here")

// Find returns the class path of Kafka, from the folder of jars that the
// environment variable TIDBCDC_KAFKA_LIB names, and the java program. "make
// bin/kafka" fills such a folder.
func Find() (classPath, java string, err error) {
	const variable = "TIDBCDC_KAFKA_LIB"
	lib := os.Getenv(variable)
	if lib == "" {
		return "", "", fmt.Errorf("%w: %s is not set (make bin/kafka)", ErrMissing, variable)
	}
	jars, err := filepath.Glob(filepath.Join(lib, "kafka_*.jar"))
	if err != nil || len(jars) == 0 {
		return "", "", fmt.Errorf("%w: no kafka_*.jar in %s=%s", ErrMissing, variable, lib)
	}
	if java, err = exec.LookPath("java"); err != nil {
		return "", "", fmt.Errorf("%w: %w", ErrMissing, err)
	}
	return filepath.Join(lib, "*"), java, nil
}

// Required reports whether the environment forbids to use another broker, or to
// skip, where Kafka is missing: TIDBCDC_REQUIRE_SERVERS=1, as in CI.
func Required() bool { return os.Getenv("TIDBCDC_REQUIRE_SERVERS") == "1" }
