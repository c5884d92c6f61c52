package vault

import "testing"

func TestAuditLogIsReadUpToItsLastWholeLine(t *testing.T) {
	const request = `{"type":"request","request":{"operation":"read","path":"v1/a"}}` + "\n"
	const response = `{"type":"response","time":"2026-01-02T03:04:05Z","auth":{"display_name":"approle"},` +
		`"request":{"operation":"read","path":"v1/a"},"error":"permission denied"}` + "\n"

	all, err := requests([]byte(request + response + request + response[:40]))
	if err != nil || len(all) != 1 {
		t.Fatalf("read %v, want one answer: %v", all, err)
	}
	if r := all[0]; r.Operation != "read" || r.Path != "v1/a" || r.Who != "approle" || r.Error != "permission denied" || r.Time.Second() != 5 {
		t.Errorf("read %+v", r)
	}
	if all, err := requests([]byte(response[:40])); err != nil || len(all) != 0 {
		t.Errorf("read %v from half a line, want nothing: %v", all, err)
	}
	if all, err := requests([]byte("nonsense\n" + response)); err == nil {
		t.Errorf("read %v from a log that is none", all)
	}
}
