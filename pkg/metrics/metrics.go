// Package metrics puts the metrics of controllers where they are scraped.
package metrics

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Expose registers collectors until ctx ends. The error names those that cannot be registered.
func Expose(ctx context.Context, registry prometheus.Registerer, collectors ...prometheus.Collector) error {
	var errs []error
	for _, c := range collectors {
		errs = append(errs, registry.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("registering the metrics: %w", err)
	}
	context.AfterFunc(ctx, func() {
		for _, c := range collectors {
			registry.Unregister(c)
		}
	})
	return nil
}
