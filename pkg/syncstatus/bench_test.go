package syncstatus

import (
	"fmt"
	"testing"
)

func BenchmarkAggregate(b *testing.B) {
	for _, clusters := range []int{10, 2000} {
		b.Run(fmt.Sprintf("%d clusters", clusters), func(b *testing.B) {
			in := input(many(clusters)...)
			in = in.after(Aggregate(in))
			for b.Loop() {
				Aggregate(in)
			}
		})
	}
}
