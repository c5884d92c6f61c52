package bundle

import (
	"bytes"
	"testing"
)

func BenchmarkSealUnchanged(b *testing.B) {
	source := opaque(map[string][]byte{"data": bytes.Repeat([]byte("x"), 20_000)})
	first, err := Seal(source, nil, Terms{}, newNonce("n"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Seal(source, first.Data, Terms{}, newNonce("n")); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRenderUnchanged(b *testing.B) {
	s := newStory("paris", "tokyo", "denver")
	s.Current, _ = Render(s.Request)
	for b.Loop() {
		Render(s.Request)
	}
}
