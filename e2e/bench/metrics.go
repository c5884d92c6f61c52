package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// metrics are values by series, as /metrics writes them.
type metrics map[string]float64

func (o *operator) metrics(ctx context.Context) (metrics, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+o.address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("reading the operator's metrics: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the operator's metrics: %w", err)
	}
	return parseMetrics(string(body)), nil
}

func parseMetrics(text string) metrics {
	m := metrics{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if value, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
			m[line[:at]] = value
		}
	}
	return m
}

// sum adds up the series of a name whose labels hold a text.
func (m metrics) sum(name, label string) float64 {
	total := 0.0
	for series, value := range m {
		if before, labels, _ := strings.Cut(series, "{"); before == name && strings.Contains(labels, label) {
			total += value
		}
	}
	return total
}

// durations are the counts of a histogram in seconds.
type durations struct {
	count, sum float64
	// upTo counts those that took at most so long, by bucket.
	upTo map[float64]float64
}

var bucketOf = regexp.MustCompile(`le="([^"]+)"`)

// histogram reads the histogram of a name; label picks series.
func (m metrics) histogram(name, label string) durations {
	d := durations{count: m.sum(name+"_count", label), sum: m.sum(name+"_sum", label), upTo: map[float64]float64{}}
	for series, value := range m {
		if before, labels, _ := strings.Cut(series, "{"); before == name+"_bucket" && strings.Contains(labels, label) {
			if le, err := strconv.ParseFloat(bucketOf.FindStringSubmatch(labels)[1], 64); err == nil {
				d.upTo[le] += value
			}
		}
	}
	return d
}

// since is what was added to an earlier state of the same histogram.
func (d durations) since(before durations) durations {
	out := durations{count: d.count - before.count, sum: d.sum - before.sum, upTo: map[float64]float64{}}
	for le, n := range d.upTo {
		out.upTo[le] = n - before.upTo[le]
	}
	return out
}

func (d durations) mean() time.Duration {
	if d.count == 0 {
		return 0
	}
	return time.Duration(d.sum / d.count * float64(time.Second))
}

// share is the part of all that took at most limit seconds; limit must be a bucket.
func (d durations) share(limit float64) float64 {
	if d.count == 0 {
		return 1
	}
	return d.upTo[limit] / d.count
}
