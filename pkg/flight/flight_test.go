package flight_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/fleet-handshake/fleet-handshake/pkg/flight"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAllWhoWantTheSameAreGivenWhatOneDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var group flight.Group[int]
		var done, given atomic.Int32
		release := make(chan struct{})
		for range 1000 {
			go func() {
				n, err := group.Do(t.Context(), "same", func() (int, error) {
					<-release
					return int(done.Add(1)), nil
				})
				assert.NoError(t, err)
				given.Add(int32(n))
			}()
		}
		other, err := group.Do(t.Context(), "other", func() (int, error) { return 7, nil })
		require.NoError(t, err)
		assert.Equal(t, 7, other, "another key is not held up")
		synctest.Wait()
		close(release)
		synctest.Wait()
		assert.EqualValues(t, 1, done.Load())
		assert.EqualValues(t, 1000, given.Load())
	})
}

func TestWhoDoesNotWaitFailsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var group flight.Group[string]
		ctx, cancel := context.WithCancel(t.Context())
		gone, patient, follower := make(chan error, 1), make(chan string, 1), make(chan error, 1)
		go func() {
			_, err := group.Do(ctx, "", func() (string, error) {
				<-ctx.Done()
				return "", ctx.Err()
			})
			gone <- err
		}()
		synctest.Wait()
		go func() {
			out, err := group.Do(t.Context(), "", func() (string, error) { return "anew", nil })
			assert.NoError(t, err)
			patient <- out
		}()
		impatient, leave := context.WithCancel(t.Context())
		go func() {
			_, err := group.Do(impatient, "", func() (string, error) { return "", errors.New("it must not be done") })
			follower <- err
		}()
		synctest.Wait()
		leave()
		require.ErrorIs(t, <-follower, context.Canceled, "a follower waits no longer than its own context")
		cancel()
		require.ErrorIs(t, <-gone, context.Canceled)
		assert.Equal(t, "anew", <-patient)
	})
}

func TestAFailureIsThatOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var group flight.Group[int]
		failure := errors.New("no")
		release := make(chan struct{})
		errs := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := group.Do(t.Context(), "", func() (int, error) {
					<-release
					return 0, failure
				})
				errs <- err
			}()
		}
		synctest.Wait()
		close(release)
		assert.Same(t, failure, <-errs)
		assert.Same(t, failure, <-errs)
		again, err := group.Do(t.Context(), "", func() (int, error) { return 1, nil })
		require.NoError(t, err)
		assert.Equal(t, 1, again, "it is done again afterwards")
	})
}
