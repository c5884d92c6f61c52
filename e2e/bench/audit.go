package main

import "time"

// leastGap is the shortest time between two of the times, which are in order; zero when there are less than two.
func leastGap(times []time.Time) time.Duration {
	var least time.Duration
	for i := 1; i < len(times); i++ {
		if gap := times[i].Sub(times[i-1]); i == 1 || gap < least {
			least = gap
		}
	}
	return least
}

// most is the largest number of the times, which are in order, in any window that begins with one of them and ends
// before that plus d.
func most(times []time.Time, d time.Duration) int {
	n, end := 0, 0
	for i, t := range times {
		for end < len(times) && times[end].Before(t.Add(d)) {
			end++
		}
		n = max(n, end-i)
	}
	return n
}
