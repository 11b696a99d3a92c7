package event_test

import (
	"encoding/hex"
	"math/big"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

func TestDecimalBinary(t *testing.T) {
	for _, tc := range []struct {
		bin   string
		scale int
		want  string
	}{
		{"0a027ffffff3dd", 2, "-12.34"}, // as TiDB wrote it for a DECIMAL(10,2)
		{"0a027ffffff3dd", -1, "-12.34"},
		{"0a027ffffff3dd", 4, "-12.3400"},
		{"0a027ffffff3dd", 1, "-12.3"},
		{"0a027ffffff3dd", 0, "-12"},
		{"0100" + "80", 0, "0"},
		{"0101" + "80", 1, "0.0"},
		{"0100" + "7f", 0, "0"}, // minus zero is zero
		{"0202" + "85", 2, "0.05"},
		{"0900" + "bb9ac9ff", 0, "999999999"},
		{"0909" + "bb9ac9ff", 9, "0.999999999"},
		{"0a00" + "893b9ac9ff", 0, "9999999999"},
	} {
		bin, err := hex.DecodeString(tc.bin)
		if err != nil {
			t.Fatal(err)
		}
		v, err := event.DecimalValue(bin, tc.scale)
		if err != nil {
			t.Errorf("%s: %v", tc.bin, err)
			continue
		}
		if got := v.Text(); got != tc.want {
			t.Errorf("%s with scale %d: got %s, want %s", tc.bin, tc.scale, got, tc.want)
		}
	}
}

func TestDecimalBinaryErrors(t *testing.T) {
	for _, bad := range []string{
		"", "0a", "0a02", "0000", "0a027ffffff3", "0a027ffffff3dd00", // too short, too long
		"0103" + "80", "ff00" + "80", // impossible digits
		"0100" + "8a",       // ten in one digit
		"0900" + "bb9aca00", // 1000000000 in nine
		"0202" + "e4",       // a hundred in two
	} {
		bin, err := hex.DecodeString(bad)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := event.DecimalValue(bin, 0); err == nil {
			t.Errorf("%s was accepted as %s", bad, v.Text())
		}
	}
}

func TestParseDecimal(t *testing.T) {
	for _, tc := range []struct {
		text  string
		scale int
		want  string
	}{
		{"0", 0, "0"},
		{"-0", 2, "0.00"},
		{"1.5", 3, "1.500"},
		{"+1.5", -1, "1.5"},
		{".5", -1, "0.5"},
		{"5.", -1, "5"},
		{"1.005", 2, "1.01"},
		{"1.004", 2, "1.00"},
		{"-1.995", 2, "-2.00"},
		{"999.5", 0, "1000"},
		{"0.5", 0, "1"},
		{"-0.4", 0, "0"},
		{"000123.450", 2, "123.45"},
		{"12345678901234567890123456789012345.123456789012345678901234567890", 30, "12345678901234567890123456789012345.123456789012345678901234567890"},
	} {
		v, err := event.ParseDecimal(tc.text, tc.scale)
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		if got := v.Text(); got != tc.want {
			t.Errorf("%s with scale %d: got %s, want %s", tc.text, tc.scale, got, tc.want)
		}
	}
	for _, bad := range []string{"", ".", "-", "1e5", "1.2.3", "0x1", " 1", "--1", strings.Repeat("9", 81)} {
		if v, err := event.ParseDecimal(bad, 0); err == nil {
			t.Errorf("%q was parsed as %s", bad, v.Text())
		}
	}
}

// Any text that parses comes back as the same number, and its digits are as many as asked for.
func FuzzParseDecimal(f *testing.F) {
	for _, s := range []string{"0", "-12.34", "999999999999999999", "0.000000001", "-.5", "123456789.987654321", "1.995"} {
		f.Add(s, int8(2))
	}
	f.Fuzz(func(t *testing.T, text string, scale int8) {
		v, err := event.ParseDecimal(text, int(scale))
		if err != nil {
			return
		}
		got := v.Text()
		exact, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%q was parsed as %s", text, got)
		}
		want := got
		if scale >= 0 {
			want = exact.FloatString(int(scale))
			if exact.Sign() < 0 && strings.Trim(want, "-0.") == "" {
				want = want[1:] // minus zero is zero
			}
		} else if back, _ := new(big.Rat).SetString(got); back.Cmp(exact) != 0 {
			t.Errorf("%q: got %s", text, got)
		}
		if got != want {
			t.Errorf("%q with scale %d: got %s, want %s", text, scale, got, want)
		}
	})
}

// Whatever is accepted renders as a number.
func FuzzDecimalValue(f *testing.F) {
	for _, s := range []string{"0a027ffffff3dd", "010080", "090080000000", "4100", "0202e4"} {
		bin, err := hex.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bin, int8(2))
	}
	f.Fuzz(func(t *testing.T, bin []byte, scale int8) {
		v, err := event.DecimalValue(bin, int(scale))
		if err != nil {
			return
		}
		if _, ok := new(big.Rat).SetString(v.Text()); !ok {
			t.Errorf("%x with scale %d: got %q", bin, scale, v.Text())
		}
	})
}
