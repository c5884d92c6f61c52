package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestMostInAWindow(t *testing.T) {
	at := func(milliseconds ...int) []time.Time {
		var out []time.Time
		for _, ms := range milliseconds {
			out = append(out, time.UnixMilli(int64(ms)))
		}
		return out
	}
	for title, c := range map[string]struct {
		times []time.Time
		most  int
		gap   time.Duration
	}{
		"none":                            {nil, 0, 0},
		"one":                             {at(5), 1, 0},
		"exactly a second is not within":  {at(0, 1000, 2000), 1, time.Second},
		"a millisecond less is":           {at(0, 1000, 1999), 2, 999 * time.Millisecond},
		"the fullest window is not first": {at(0, 5000, 5400, 5999, 6001), 3, 2 * time.Millisecond},
	} {
		t.Run(title, func(t *testing.T) {
			assert.Equal(t, c.most, most(c.times, time.Second))
			assert.Equal(t, c.gap, leastGap(c.times))
		})
	}
}

func TestHistogram(t *testing.T) {
	before := parseMetrics("# HELP t time\nt_bucket{h=\"a\",le=\"0.1\"} 1\nt_bucket{h=\"a\",le=\"+Inf\"} 2\nt_sum{h=\"a\"} 3\nt_count{h=\"a\"} 2\nt_count{h=\"b\"} 50\n")
	after := parseMetrics("t_bucket{h=\"a\",le=\"0.1\"} 4\nt_bucket{h=\"a\",le=\"+Inf\"} 6\nt_sum{h=\"a\"} 5\nt_count{h=\"a\"} 6\nplain 7\n")
	d := after.histogram("t", `h="a"`).since(before.histogram("t", `h="a"`))
	assert.InDelta(t, 4, d.count, 0)
	assert.Equal(t, 500*time.Millisecond, d.mean())
	assert.InDelta(t, 0.75, d.share(0.1), 0)
	assert.InDelta(t, 7, after.sum("plain", ""), 0)
}
