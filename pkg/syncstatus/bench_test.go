package syncstatus

import (
	"fmt"
	"testing"
)

func BenchmarkAggregate(b *testing.B) {
	for _, clusters := range []int{10, 1000} {
		b.Run(fmt.Sprintf("%d clusters", clusters), func(b *testing.B) {
			var names []string
			for i := range clusters {
				names = append(names, fmt.Sprintf("c%05d", i))
			}
			in := input(names...)
			for _, name := range names {
				in.Deployments = append(in.Deployments, deployment(name, nil))
			}
			for b.Loop() {
				Aggregate(in)
			}
		})
	}
}
