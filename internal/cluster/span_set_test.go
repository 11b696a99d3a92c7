package cluster

import (
	"encoding/json"
	"maps"
	"math"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

func TestSpanSet(t *testing.T) {
	for text, set := range map[string]SpanSet{
		`""`:         {},
		`"AQIBAgED"`: {1: 1, 2: 2, 3: 0},
		`"AQA="`:     {1: 0},
	} {
		got, err := json.Marshal(set)
		if err != nil || string(got) != text {
			t.Errorf("%v is %s, %v; want %s", set, got, err, text)
		}
		var back SpanSet
		if err := json.Unmarshal([]byte(text), &back); err != nil || !maps.Equal(back, set) {
			t.Errorf("%s is %v, %v; want %v", text, back, err, set)
		}
	}
	large := SpanSet{math.MaxInt64: math.MaxUint64, 7: 1 << 62, 100: 5}
	for id := range int64(100_000) {
		large[1000+id] = 470640709547589632 + event.Ts(id%3)
	}
	data, err := json.Marshal(large)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 400_000 {
		t.Errorf("100,000 tables take %d bytes", len(data))
	}
	var back SpanSet
	if err := json.Unmarshal(data, &back); err != nil || !maps.Equal(back, large) {
		t.Errorf("100,000 tables come back as %d: %v", len(back), err)
	}
}

func FuzzSpanSet(f *testing.F) {
	for _, seed := range []string{`""`, `"AQIBAgED"`, `"gA=="`, `"AQ=="`, `"!"`, `{}`, `"////////////"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var set SpanSet
		if json.Unmarshal(data, &set) != nil {
			return
		}
		again, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		var back SpanSet
		if err := json.Unmarshal(again, &back); err != nil || !maps.Equal(back, set) {
			t.Errorf("%v comes back as %v: %v", set, back, err)
		}
	})
}
