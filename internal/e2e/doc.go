// Package e2e holds the end-to-end tests: a real TiDB cluster in a child
// process, a seeded workload on it, changefeeds through the public API, and
// validators that say whether anything was lost, reordered or misread.
//
// make test builds the cluster's binary and runs them. SEED=n repeats a workload.
package e2e
