package source

import (
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/stretchr/testify/assert"
)

func TestWhatAServerDidNotAnswerForIsFetchedWhenOneAnswersAgain(t *testing.T) {
	w := newWorld(t)
	w.err = &Problem{Reason: v1alpha1.ReasonUnavailable, Message: "it is down", Heals: true}
	w.source("app")
	w.works("app")
	w.works("app")
	assert.Len(t, w.wants, 1, "it waits")
	w.err = nil
	w.Retry()
	w.works("app")
	assert.Len(t, w.wants, 2)
	w.Retry()
	w.works("app")
	assert.Len(t, w.wants, 2, "nothing is wrong with it")
}
