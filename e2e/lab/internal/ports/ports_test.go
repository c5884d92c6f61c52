package ports

import "testing"

func TestPortsAreNeverHandedOutTwice(t *testing.T) {
	var p Set
	seen := map[int]bool{}
	for range 20 {
		found, err := p.Free(10)
		if err != nil {
			t.Fatal(err)
		}
		for _, port := range found {
			if seen[port] {
				t.Fatalf("port %d was handed out twice", port)
			}
			seen[port] = true
		}
	}
}
