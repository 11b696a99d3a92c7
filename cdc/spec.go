package cdc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/sink"
)

// Spec describes a changefeed: it is what the HTTP API creates one from, what a
// configuration file holds, and what a Capture stores. The TOML names are those
// of TiCDC's changefeed files; the JSON names those of its HTTP API, as far as
// that knows a setting. Zero values are defaults.
type Spec struct {
	// ID names the changefeed: letters and digits, with single dashes between, 128
	// bytes at most.
	ID string `json:"changefeed_id" toml:"-"`
	// SinkURI says where the changes go, such as mysql://user:password@host:3306/.
	// Its scheme chooses among CaptureConfig.Openers. Required.
	SinkURI string `json:"sink_uri" toml:"-"`
	// StartTs: changes with a greater commit ts are delivered. 0 means now.
	StartTs event.Ts `json:"start_ts,omitempty" toml:"-"`
	// TargetTs: the changefeed is finished when everything up to it is delivered.
	// 0 means never.
	TargetTs event.Ts `json:"target_ts,omitempty" toml:"-"`
	// TimeZone is an IANA name: where TIMESTAMP values are written as local time,
	// and where filters see them. Empty and "system" are the capture's zone.
	TimeZone string `json:"timezone,omitempty" toml:"-"`

	// MemoryQuota is Config.MemoryQuota. 0 is the capture's default.
	MemoryQuota int64 `json:"memory_quota,omitempty" toml:"memory-quota"`
	// CaseSensitive makes table rules, here and in the sink's settings, distinguish
	// upper from lower case.
	CaseSensitive bool `json:"case_sensitive,omitempty" toml:"case-sensitive"`
	// ForceReplicate and IgnoreIneligibleTables are as in Config.
	ForceReplicate         bool `json:"force_replicate,omitempty" toml:"force-replicate"`
	IgnoreIneligibleTables bool `json:"ignore_ineligible_table,omitempty" toml:"ignore-ineligible-table"`
	// WholeTransactions is as in Config. It takes a capture that writes all tables,
	// one without Etcd, and a sink that is a sink.TransactionWriter; the sink's calls
	// do not overlap then, whatever CaptureConfig.WriteConcurrency.
	WholeTransactions bool `json:"whole_transactions,omitempty" toml:"whole-transactions"`
	// ErrorStuckDuration is for how long a changefeed that meets errors is started
	// again and again without coming further, before it fails. Defaults to 30 min;
	// TiCDC takes no less, this does.
	ErrorStuckDuration Duration `json:"changefeed_error_stuck_duration,omitzero" toml:"changefeed-error-stuck-duration"`

	// Filter says which tables and changes. Filter.CaseSensitive is not used, see
	// CaseSensitive.
	Filter filter.Config `json:"filter,omitzero" toml:"filter"`
	// Mounter is accepted for TiCDC's sake and has no effect: rows are decoded by
	// those who write them.
	Mounter MounterSpec `json:"mounter,omitzero" toml:"mounter"`
	// Sink are the settings of the sink besides its URI, which wins where both say
	// something.
	Sink sink.Options `json:"sink_config,omitzero" toml:"sink"`

	// What follows is TiCDC's and does not exist here. A Spec that turns one of
	// these on is refused, because it would be delivered otherwise than it says; a
	// file that spells out that they are off is accepted.
	EnableSyncPoint   bool           `json:"enable_sync_point,omitempty" toml:"enable-sync-point"`
	BDRMode           bool           `json:"bdr_mode,omitempty" toml:"bdr-mode"`
	EnableOldValue    *bool          `json:"enable_old_value,omitempty" toml:"enable-old-value"` // false is refused
	Consistent        map[string]any `json:"consistent,omitempty" toml:"consistent"`
	Integrity         map[string]any `json:"integrity,omitempty" toml:"integrity"`
	CyclicReplication map[string]any `json:"cyclic_replication,omitempty" toml:"cyclic-replication"`
	// These are accepted and have no effect.
	CheckGCSafePoint   *bool          `json:"check_gc_safe_point,omitempty" toml:"check-gc-safe-point"`
	SyncPointInterval  string         `json:"sync_point_interval,omitempty" toml:"sync-point-interval"`
	SyncPointRetention string         `json:"sync_point_retention,omitempty" toml:"sync-point-retention"`
	SQLMode            string         `json:"sql_mode,omitempty" toml:"sql-mode"`
	SyncedStatus       map[string]any `json:"synced_status,omitempty" toml:"synced-status"`
	Scheduler          map[string]any `json:"scheduler,omitempty" toml:"scheduler"`
}

// MounterSpec is TiCDC's [mounter].
type MounterSpec struct {
	WorkerNum int `json:"worker_num,omitempty" toml:"worker-num"`
}

// Errors of what a Spec says. Those of its sink URI, its ts and its filter are
// elsewhere.
var (
	// ErrInvalidSpec: a setting is wrong with any upstream and any sink.
	ErrInvalidSpec = errors.New("invalid changefeed settings")
	// ErrInvalidID: an id does not have the form that [Spec.ID] asks for.
	ErrInvalidID = errors.New("invalid id")
	// ErrInvalidTimeZone: there is no such time zone.
	ErrInvalidTimeZone = errors.New("invalid time zone")
)

// ValidateID checks the form of a changefeed's id, or of a capture's.
func ValidateID(id string) error {
	if len(id) > 128 || !idPattern.MatchString(id) {
		if len(id) > 128 {
			id = id[:128] + "…"
		}
		return fmt.Errorf("%w %q: want letters and digits with single dashes between, 128 bytes at most", ErrInvalidID, id)
	}
	return nil
}

// validateSettings checks what can be checked without I/O, but for the id, the
// sink URI, the ts and the filter, which come earlier or later in the order in
// which TiCDC reports mistakes.
func (s *Spec) validateSettings() error {
	switch {
	case s.MemoryQuota != 0 && s.MemoryQuota < minMemoryQuota:
		return fmt.Errorf("%w: memory quota %d: want %d bytes at least", ErrInvalidSpec, s.MemoryQuota, minMemoryQuota)
	case s.ErrorStuckDuration < 0:
		return fmt.Errorf("%w: changefeed-error-stuck-duration %v must not be negative", ErrInvalidSpec, time.Duration(s.ErrorStuckDuration))
	case s.Mounter.WorkerNum < 0:
		return fmt.Errorf("%w: mounter worker-num %d must not be negative", ErrInvalidSpec, s.Mounter.WorkerNum)
	case s.EnableOldValue != nil && !*s.EnableOldValue:
		return fmt.Errorf("%w: enable-old-value cannot be turned off", ErrInvalidSpec)
	}
	for _, option := range []struct {
		name string
		on   bool
	}{
		{"enable-sync-point", s.EnableSyncPoint},
		{"bdr-mode", s.BDRMode},
		{"consistent.level", isOn(s.Consistent["level"])},
		{"integrity.integrity-check-level", isOn(s.Integrity["integrity-check-level"]) || isOn(s.Integrity["integrity_check_level"])},
		{"cyclic-replication.enable", isOn(s.CyclicReplication["enable"])},
	} {
		if option.on {
			return fmt.Errorf("%w: %s is not supported: leave it out", ErrInvalidSpec, option.name)
		}
	}
	return nil
}

// isOn reports whether a setting of an unsupported section says something else
// than off.
func isOn(value any) bool {
	switch v := value.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != "" && v != "none"
	}
	return true
}

// scheme returns that of SinkURI, in lower case.
func (s *Spec) scheme() string {
	scheme, _, _ := strings.Cut(s.SinkURI, "://")
	return strings.ToLower(scheme)
}

// zone returns the changefeed's time zone.
func (s *Spec) zone(system *time.Location) (*time.Location, error) {
	switch strings.ToLower(s.TimeZone) {
	case "", "system", "local":
		return system, nil
	}
	zone, err := time.LoadLocation(s.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("%w %q: want an IANA name such as Asia/Shanghai, or system", ErrInvalidTimeZone, s.TimeZone)
	}
	return zone, nil
}

// filter compiles the changefeed's filter.
func (s *Spec) filter(system *time.Location) (*filter.Filter, error) {
	cfg := s.Filter
	cfg.CaseSensitive = s.CaseSensitive
	var err error
	if cfg.TimeZone, err = s.zone(system); err != nil {
		return nil, err
	}
	return filter.New(cfg)
}

// Duration is a time.Duration that files and bodies give as a text such as "30m",
// or as a number of nanoseconds. It is written as a text.
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("duration %q: want a form such as 30m", text)
	}
	*d = Duration(v)
	return nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(data []byte) error {
	text := string(data)
	if text == "null" {
		return nil
	}
	if unquoted, err := strconv.Unquote(text); err == nil {
		return d.UnmarshalText([]byte(unquoted))
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("duration %s: want a text such as \"30m\", or nanoseconds", text)
	}
	*d = Duration(n)
	return nil
}
