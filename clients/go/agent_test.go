package tokenseal

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// everyMember has every member that some route requires.
const everyMember = `{"tokens":{},"plain":{},"revision":"r1","written":"kms-envelope","deleted":true,` +
	`"lease":"l1","expires":"2026-11-29T00:00:00Z","released":false}`

type sentRequest struct{ path, body, header, authorization string }

// stubAgent answers one status and body to everything, and keeps the requests.
type stubAgent struct {
	status   int
	answer   string
	location string
	latency  time.Duration
	requests []sentRequest
	server   *httptest.Server
}

func startAgent(t *testing.T, token string) (*stubAgent, *AgentClient) {
	t.Helper()
	stub := &stubAgent{status: 200, answer: everyMember}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		stub.requests = append(stub.requests, sentRequest{r.URL.Path, string(body), r.Header.Get("X-Tokenseal"), r.Header.Get("Authorization")})
		time.Sleep(stub.latency)
		w.Header().Set("Retry-After", "7")
		if stub.location != "" {
			w.Header().Set("Location", stub.location)
		}
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

func TestAnAnswerWithoutAMemberOfItsRouteIsNoSuccess(t *testing.T) {
	stub, client := startAgent(t, "")
	calls := map[string]func() (any, error){
		"tokens plain revision":  func() (any, error) { return client.Get(ctx, RowKey{}) },
		"tokens plain revision ": func() (any, error) { return client.Fresh(ctx, RowKey{}, 60) },
		"written revision":       func() (any, error) { return client.Put(ctx, Put{}) },
		"deleted":                func() (any, error) { return nil, client.Delete(ctx, RowKey{}, "") },
		"lease expires":          func() (any, error) { lease, _, err := client.Lease(ctx, RowKey{}, 5); return lease, err },
		"released":               func() (any, error) { return nil, client.Release(ctx, RowKey{}, "l") },
	}
	for needed, call := range calls {
		for _, name := range strings.Fields(needed) {
			for _, odd := range []string{"null", `""`, "7"} {
				var answer map[string]json.RawMessage
				if err := json.Unmarshal([]byte(everyMember), &answer); err != nil {
					t.Fatal(err)
				}
				answer[name] = json.RawMessage(odd)
				text, _ := json.Marshal(answer)
				stub.answer = string(text)
				var failed *AgentError
				if got, err := call(); !errors.As(err, &failed) || failed.Status != 0 || failed.Class != "unexpected" {
					t.Fatal(needed, name, odd, got, err)
				}
			}
		}
		stub.answer = "{}"
		if got, err := call(); !errors.Is(err, ErrAgent) {
			t.Fatal(needed, got, err)
		}
	}
}

func TestAnEmptyLeaseIsNotGivenBack(t *testing.T) {
	stub, client := startAgent(t, "")
	if err := client.Release(ctx, RowKey{}, ""); !errors.Is(err, ErrRefused) || len(stub.requests) != 0 {
		t.Fatal(err)
	}
}

func TestAReadIsSentOnceMoreHoweverManyConnectionsAreStale(t *testing.T) {
	for _, answers := range [][]string{{""}, {"", whole}} {
		client, requests, ready := crowdedAgent(t, 5, answers...)
		ready()
		_, err := client.Get(ctx, RowKey{})
		if (err == nil) != (len(answers) == 2) || requests.Load() != 5+2 {
			t.Fatal(err, requests.Load())
		}
	}
}

// crowdedAgent answers so many requests only together, each on a connection of its own, and later ones with its texts. The last
// value sends those requests.
func crowdedAgent(t *testing.T, connections int32, answers ...string) (*AgentClient, *atomic.Int32, func()) {
	t.Helper()
	var crowd sync.WaitGroup
	crowd.Add(int(connections))
	client, requests := rawAgentBy(t, func(request int32) string {
		if request > connections {
			return answers[min(int(request-connections), len(answers))-1]
		}
		crowd.Done()
		crowd.Wait()
		return whole
	})
	return client, requests, func() {
		var calls sync.WaitGroup
		for range connections {
			calls.Add(1)
			go func() {
				defer calls.Done()
				if _, err := client.Get(ctx, RowKey{}); err != nil {
					t.Error(err)
				}
			}()
		}
		calls.Wait()
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
		if !errors.As(err, &failed) || *failed != (AgentError{Status: stub.status, Class: "c", Message: "m", Hint: "h", CorrelationID: "i", RetryAfter: 7, NeedsConsent: true}) {
			t.Fatal(err)
		}
	}
	stub.status, stub.answer = 423, `{"error": {"class": "leased", "message": "m"}, "expires": "2026-11-29T00:00:00Z"}`
	var leased *AgentError
	if _, _, err := client.Lease(ctx, RowKey{}, 5); !errors.As(err, &leased) || leased.Expires != "2026-11-29T00:00:00Z" {
		t.Fatal(err)
	}
	stub.status = 200
	for _, stub.answer = range []string{"", "[]", "{", `{"items": 1}`, canary} {
		var failed *AgentError
		_, err := client.Open(ctx, Item{})
		if !errors.As(err, &failed) || failed.Status != 0 || strings.Contains(err.Error(), canary) {
			t.Fatal(err)
		}
	}
}

func TestTheErrorOfASingleValueHasTheStatusOfItsKind(t *testing.T) {
	stub, client := startAgent(t, "")
	value := "x"
	for answered, status := range map[string]int{
		`"malformed", "status": 400`: 400, `"of_a_later_agent", "status": 404`: 404, `"malformed"`: 400, `"not_found"`: 404,
		`"policy"`: 403, `"missing_key"`: 422, `"missing_key", "status": 200`: 422,
	} {
		stub.answer = `{"items": [{"error": {"message": "m", "class": ` + answered + `}}]}`
		_, opening := client.Open(ctx, Item{Text: "x"})
		_, sealing := client.Seal(ctx, Item{Value: &value})
		for _, err := range []error{opening, sealing} {
			var failed *AgentError
			if !errors.As(err, &failed) || failed.Status != status {
				t.Fatal(answered, err)
			}
		}
	}
}

func TestARequestThatIsLongerThanTheAgentReadsIsNotSent(t *testing.T) {
	stub, client := startAgent(t, "")
	long := strings.Repeat("x", 2<<20)
	var failed *AgentError
	_, err := client.Put(ctx, Put{Tokens: map[string]*string{"a": &long}})
	if !errors.As(err, &failed) || failed.Status != 413 || len(stub.requests) != 0 {
		t.Fatal(err)
	}
}

func TestACallThatItsCallerEndsSaysSo(t *testing.T) {
	stub, client := startAgent(t, "")
	stub.latency = 300 * time.Millisecond
	ending, cancel := context.WithCancel(ctx)
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := client.Get(ending, RowKey{}); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrAgent) {
		t.Fatal(err)
	}
}

func TestACallThatDoesNotEndInTimeSaysSo(t *testing.T) {
	stub, client := startAgent(t, "")
	stub.latency = 300 * time.Millisecond
	ending, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, ofContext := client.Get(ending, RowKey{})
	client.client.Timeout = 50 * time.Millisecond
	_, ofClient := client.Get(ctx, RowKey{})
	for _, err := range []error{ofContext, ofClient} {
		var failed *AgentError
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &failed) || failed.Status != 0 {
			t.Fatal(err)
		}
	}
	gone, err := NewAgentClient("/nonexistent/agent.sock", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Get(ctx, RowKey{}); !errors.Is(err, ErrAgent) || errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

// endsAfter ends the context when the answer has arrived whole.
type endsAfter struct {
	within http.RoundTripper
	end    func()
}

func (e endsAfter) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := e.within.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	response.Body = io.NopCloser(bytes.NewReader(data))
	e.end()
	return response, err
}

func TestAnAnswerThatArrivedWholeIsReturnedAlthoughTheContextEnded(t *testing.T) {
	stub, client := startAgent(t, "")
	stub.answer = `{"written": "kms-envelope", "revision": "r2"}`
	within := client.client.Transport
	for range 2 {
		ending, cancel := context.WithCancel(ctx)
		client.client.Transport = endsAfter{within, cancel}
		if written, err := client.Put(ending, Put{}); err != nil || written.Revision != "r2" || ending.Err() == nil {
			t.Fatal(written, err)
		}
		overdue, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		client.client.Transport = endsAfter{within, func() { <-overdue.Done() }}
		if written, err := client.Put(overdue, Put{}); err != nil || written.Revision != "r2" {
			t.Fatal(written, err)
		}
		cancel()
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	stub, client := startAgent(t, "")
	stub.status, stub.location = 307, "http://localhost/other"
	var failed *AgentError
	if _, err := client.Get(ctx, RowKey{}); !errors.As(err, &failed) || failed.Status != 307 || len(stub.requests) != 1 {
		t.Fatal(err, len(stub.requests))
	}
}

var whole = fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(everyMember), everyMember)

// rawAgent answers each request with the next of its texts, and closes after one that is not whole.
func rawAgent(t *testing.T, answers ...string) (*AgentClient, *atomic.Int32) {
	t.Helper()
	return rawAgentBy(t, func(request int32) string { return answers[min(int(request), len(answers))-1] })
}

// rawAgentBy answers each request by its number.
func rawAgentBy(t *testing.T, answerTo func(request int32) string) (*AgentClient, *atomic.Int32) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "raw.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	var requests atomic.Int32
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				reader := bufio.NewReader(connection)
				for {
					request, err := http.ReadRequest(reader)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, request.Body)
					answer := answerTo(requests.Add(1))
					_, _ = io.WriteString(connection, answer)
					if answer != whole {
						return
					}
				}
			}()
		}
	}()
	client, err := NewAgentClient(socket, "")
	if err != nil {
		t.Fatal(err)
	}
	return client, &requests
}

func TestAReadIsSentOnceMoreWhereAUsedConnectionEndsWithoutAnAnswerAndAWriteIsNot(t *testing.T) {
	client, requests := rawAgent(t, whole, "", whole, "")
	for range 2 {
		if _, err := client.Get(ctx, RowKey{}); err != nil {
			t.Fatal(err)
		}
	}
	if requests.Load() != 3 {
		t.Fatal(requests.Load())
	}
	if _, err := client.Put(ctx, Put{}); !errors.Is(err, ErrAgent) || requests.Load() != 4 {
		t.Fatal(err, requests.Load())
	}
}

func TestEachReadIsSentOnceMoreAndNoOtherCallIs(t *testing.T) {
	value, items := "x", []Item{{Text: "x"}}
	calls := map[string]struct {
		requests int32
		call     func(*AgentClient) error
	}{
		"get":      {3, func(c *AgentClient) error { _, err := c.Get(ctx, RowKey{}); return err }},
		"find":     {3, func(c *AgentClient) error { _, err := c.Find(ctx, "", "c", "x"); return err }},
		"open":     {3, func(c *AgentClient) error { _, err := c.Open(ctx, items[0]); return err }},
		"openMany": {3, func(c *AgentClient) error { _, err := c.OpenMany(ctx, items); return err }},
		"seal":     {3, func(c *AgentClient) error { _, err := c.Seal(ctx, Item{Value: &value}); return err }},
		"sealMany": {3, func(c *AgentClient) error { _, err := c.SealMany(ctx, []Item{{Value: &value}}); return err }},
		"secret":   {3, func(c *AgentClient) error { _, err := c.Secret(ctx, "name", ""); return err }},
		"put":      {2, func(c *AgentClient) error { _, err := c.Put(ctx, Put{}); return err }},
		"delete":   {2, func(c *AgentClient) error { return c.Delete(ctx, RowKey{}, "") }},
		"fresh":    {2, func(c *AgentClient) error { _, err := c.Fresh(ctx, RowKey{}, 60); return err }},
		"lease":    {2, func(c *AgentClient) error { _, _, err := c.Lease(ctx, RowKey{}, 5); return err }},
		"release":  {2, func(c *AgentClient) error { return c.Release(ctx, RowKey{}, "l") }},
	}
	for name, each := range calls {
		client, requests := rawAgent(t, whole, "")
		if _, err := client.Get(ctx, RowKey{}); err != nil {
			t.Fatal(err)
		}
		if err := each.call(client); !errors.Is(err, ErrAgent) || requests.Load() != each.requests {
			t.Errorf("%s: %d requests, %v", name, requests.Load(), err)
		}
	}
}

func TestAnAnswerThatBreaksOffIsNoAnswerAndIsNotAskedForAgain(t *testing.T) {
	client, requests := rawAgent(t, whole, whole[:len(whole)-2])
	if _, err := client.Get(ctx, RowKey{}); err != nil {
		t.Fatal(err)
	}
	var failed *AgentError
	if _, err := client.Get(ctx, RowKey{}); !errors.As(err, &failed) || failed.Status != 0 || requests.Load() != 2 {
		t.Fatal(err, requests.Load())
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
	for address, token := range map[string]string{"10.0.0.1:80": "t", "127.0.0.1:80": "", "/x": "line\nbreak", "127.0.0.1:0": "t", "127.0.0.1:65536": "t"} {
		if _, err := NewAgentClient(address, token); !errors.Is(err, ErrConfiguration) {
			t.Fatal(err)
		}
	}
}
