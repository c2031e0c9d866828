package tokenseal

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type sentRequest struct{ path, body, header, authorization string }

// stubAgent answers one status and body to everything, and keeps the requests.
type stubAgent struct {
	status   int
	answer   string
	latency  time.Duration
	requests []sentRequest
	server   *httptest.Server
}

func startAgent(t *testing.T, token string) (*stubAgent, *AgentClient) {
	t.Helper()
	stub := &stubAgent{status: 200, answer: "{}"}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		stub.requests = append(stub.requests, sentRequest{r.URL.Path, string(body), r.Header.Get("X-Tokenseal"), r.Header.Get("Authorization")})
		time.Sleep(stub.latency)
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(stub.status)
		_, _ = io.WriteString(w, stub.answer)
	}))
	socket := filepath.Join(t.TempDir(), "agent.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server.Listener = listener
	server.Start()
	stub.server = server
	t.Cleanup(server.Close)
	client, err := NewAgentClient("unix:"+socket, token)
	if err != nil {
		t.Fatal(err)
	}
	return stub, client
}

func TestEachCallHasItsRouteItsBodyAndTheHeader(t *testing.T) {
	stub, client := startAgent(t, strings.Repeat("t", 40))
	key := RowKey{Row: map[string]any{"id": 7}}
	value := "x"
	calls := []struct {
		call func() error
		path string
		body string
	}{
		{func() error { _, err := client.Get(ctx, key, "a"); return err }, "/v1/tokens/get", `{"row":{"id":7},"columns":["a"]}`},
		{
			func() error {
				_, err := client.Put(ctx, Put{RowKey: key, Tokens: map[string]*string{"a": &value, "b": nil}, IfRevision: "r"})
				return err
			}, "/v1/tokens/put", `{"row":{"id":7},"tokens":{"a":"x","b":null},"if_revision":"r"}`,
		},
		{func() error { return client.Delete(ctx, key, "") }, "/v1/tokens/delete", `{"row":{"id":7}}`},
		{func() error { _, err := client.Fresh(ctx, key, 60); return err }, "/v1/tokens/fresh", `{"row":{"id":7},"valid_for":60}`},
		{func() error { _, _, err := client.Lease(ctx, key, 5); return err }, "/v1/tokens/lease", `{"row":{"id":7},"seconds":5}`},
		{func() error { return client.Release(ctx, key, "l") }, "/v1/tokens/release", `{"row":{"id":7},"lease":"l"}`},
	}
	for at, each := range calls {
		if err := each.call(); err != nil {
			t.Fatal(each.path, err)
		}
		if got := stub.requests[at]; got != (sentRequest{each.path, each.body, "1", "Bearer " + strings.Repeat("t", 40)}) {
			t.Fatal(got)
		}
	}
}

func TestRowsAreFoundByAValue(t *testing.T) {
	stub, client := startAgent(t, "")
	stub.answer = `{"rows": [{"id": "7"}]}`
	rows, err := client.Find(ctx, "users", "email", "ada@example.org")
	if err != nil || len(rows) != 1 || rows[0]["id"] != "7" {
		t.Fatal(rows, err)
	}
	sent := stub.requests[0]
	if sent != (sentRequest{"/v1/tokens/find", `{"table":"users","column":"email","value":"ada@example.org"}`, "1", ""}) {
		t.Fatal(sent)
	}
	for _, stub.answer = range []string{"{}", `{"rows": "` + canary + `"}`} {
		if _, err := client.Find(ctx, "", "email", "x"); !errors.Is(err, ErrAgent) || strings.Contains(err.Error(), canary) {
			t.Fatal(err)
		}
	}
}

func TestARefreshIsWaitedForLongerThanOtherCalls(t *testing.T) {
	stub, client := startAgent(t, "")
	client.client.Timeout = 200 * time.Millisecond
	stub.latency = 400 * time.Millisecond
	if _, err := client.Fresh(ctx, RowKey{}, 60); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(ctx, RowKey{}); !errors.Is(err, ErrAgent) {
		t.Fatal(err)
	}
}

func TestOneBadItemSpoilsNoOther(t *testing.T) {
	stub, client := startAgent(t, "")
	stub.answer = `{"items": [{"value": "x"}, {"error": {"class": "context_mismatch_or_corrupt", "message": "no"}}]}`
	results, err := client.OpenMany(ctx, []Item{{Text: "a"}, {Text: "b"}})
	var failed *AgentError
	if err != nil || results[0].Value != "x" || !errors.As(results[1].Err, &failed) || failed.Status != 422 {
		t.Fatal(results, err)
	}
	if _, err := client.OpenMany(ctx, nil); !errors.Is(err, ErrAgent) {
		t.Fatal(err)
	}
	stub.answer = `{"value": "s", "version": "1", "from": "cache"}`
	if secret, err := client.Secret(ctx, "db#password", ""); secret != "s" {
		t.Fatal(err)
	}
}

func TestEachErrorKeepsItsStatusClassAndHint(t *testing.T) {
	stub, client := startAgent(t, "")
	stub.answer = `{"error": {"class": "c", "message": "m", "hint": "h", "correlation_id": "i"}, "needs_consent": true}`
	for _, stub.status = range []int{400, 401, 403, 404, 409, 413, 422, 423, 429, 503} {
		_, err := client.Get(ctx, RowKey{})
		var failed *AgentError
		if !errors.As(err, &failed) || *failed != (AgentError{stub.status, "c", "m", "h", "i", 7, true}) {
			t.Fatal(err)
		}
	}
	stub.status = 200
	for _, stub.answer = range []string{"", "[]", "{", `{"items": 1}`, canary} {
		if _, err := client.Open(ctx, Item{}); !errors.Is(err, ErrAgent) || strings.Contains(err.Error(), canary) {
			t.Fatal(err)
		}
	}
}

func TestAWriteAfterTheAgentClosedAnIdleConnectionTakesAnother(t *testing.T) {
	stub, client := startAgent(t, "")
	for range 3 {
		if _, err := client.Put(ctx, Put{RowKey: RowKey{Row: map[string]any{"id": 7}}}); err != nil {
			t.Fatal(err)
		}
		stub.server.CloseClientConnections()
		time.Sleep(50 * time.Millisecond)
	}
	if len(stub.requests) != 3 {
		t.Fatal(len(stub.requests))
	}
}

func TestAnAgentThatIsNotThereIsAnErrorAndOtherHostsAreRefused(t *testing.T) {
	client, err := NewAgentClient("/nonexistent/agent.sock", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(ctx, RowKey{}); !errors.Is(err, ErrAgent) {
		t.Fatal(err)
	}
	for address, token := range map[string]string{"10.0.0.1:80": "t", "127.0.0.1:80": "", "/x": "line\nbreak"} {
		if _, err := NewAgentClient(address, token); !errors.Is(err, ErrConfiguration) {
			t.Fatal(err)
		}
	}
}
