package bundle

import (
	"bytes"
	"testing"
)

func BenchmarkSealUnchanged(b *testing.B) {
	source := opaque(map[string][]byte{"data": bytes.Repeat([]byte("x"), 20_000)})
	first, err := Seal(source, nil, nonce("n"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Seal(source, first.Data, nonce("n")); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRenderUnchanged(b *testing.B) {
	first := Render(request(nil, "r1", start))
	for b.Loop() {
		Render(request(first, "r1", start))
	}
}
