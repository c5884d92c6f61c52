package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	secretCount = 5000
	secretSize  = 20_000
	memoryLimit = 80 // MB
)

// measureMemory compares the memory of the operator on a hub without Secrets with that on one full of foreign Secrets.
func measureMemory(ctx context.Context, b *bench) error {
	empty, err := b.memoryWhenIdle(ctx)
	if err != nil {
		return err
	}
	b.say("making %d Secrets of %d bytes", secretCount, secretSize)
	err = parallel(ctx, secretCount, func(i int) error {
		_, err := b.hub.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("foreign-%d", i), Labels: map[string]string{"app": "foreign"}},
			Data:       map[string][]byte{"data": bytes.Repeat([]byte{byte(i)}, secretSize)},
		}, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("making Secrets: %w", err)
	}
	full, err := b.memoryWhenIdle(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("\n%-32s %12s %12s\n", "resident memory of the operator", "after 20 s", "at its peak")
	fmt.Printf("%-32s %9.1f MB %9.1f MB\n", "hub without Secrets", empty.now, empty.peak)
	fmt.Printf("%-32s %9.1f MB %9.1f MB\n", fmt.Sprintf("hub with %d foreign Secrets", secretCount), full.now, full.peak)
	fmt.Printf("%-32s %12.2f %12.2f\n\n", "ratio", full.now/empty.now, full.peak/empty.peak)
	if full.peak > memoryLimit {
		return fmt.Errorf("the operator takes more than %d MB", memoryLimit)
	}
	fmt.Printf("the limit is %d MB\n", memoryLimit)
	return nil
}

// memoryWhenIdle starts the operator and reads its memory when it has worked for 20 seconds.
func (b *bench) memoryWhenIdle(ctx context.Context) (memory, error) {
	o, err := startOperator(ctx, b)
	if err != nil {
		return memory{}, err
	}
	defer o.stop()
	if err := sleep(ctx, 20*time.Second); err != nil {
		return memory{}, err
	}
	return o.memory()
}
