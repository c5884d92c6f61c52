// Package ports finds free ports on this machine's loopback.
package ports

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are chosen below the range Linux takes outgoing connections' ports
// from: in that range a port that is free now may be in use a moment later.
const (
	lowestPort  = 20000
	highestPort = 32767
)

// Set hands out free ports on loopback and never the same one twice.
type Set struct {
	mutex sync.Mutex
	taken map[int]bool
}

// Free returns ports nobody listens on at the moment.
func (p *Set) Free(count int) ([]int, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.taken == nil {
		p.taken = map[int]bool{}
	}
	var found []int
	for range 1000 {
		if len(found) == count {
			return found, nil
		}
		port := lowestPort + rand.IntN(highestPort-lowestPort+1)
		if p.taken[port] {
			continue
		}
		listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		_ = listener.Close()
		p.taken[port] = true
		found = append(found, port)
	}
	return nil, errors.New("found no free port on 127.0.0.1 between 20000 and 32767")
}
