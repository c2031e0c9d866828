package tokenseal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"sync/atomic"
)

const maxAnswer = 64 << 20

// reads are the calls that may be sent once more.
var reads = []string{
	"/v1/tokens/get", "/v1/tokens/find", "/v1/open", "/v1/seal", "/v1/secrets/get",
}

type agentFailure struct {
	Error        json.RawMessage `json:"error"`
	NeedsConsent bool            `json:"needs_consent"`
	Expires      string          `json:"expires"`
}

func (a *AgentClient) call(ctx context.Context, path string, body, answer any) error {
	return a.callBy(ctx, a.client, path, body, answer)
}

func (a *AgentClient) callBy(ctx context.Context, client *http.Client, path string, body, answer any) error {
	payload, err := encoded(body)
	if err != nil {
		return err
	}
	// One time for the whole call: the client has one for each request.
	timed, cancel := context.WithTimeout(ctx, client.Timeout)
	defer cancel()
	response, isStale, err := a.exchange(timed, client, path, payload)
	if err != nil && isStale && slices.Contains(reads, path) && timed.Err() == nil {
		// Once, and not over another connection that has been idle for as long.
		client.CloseIdleConnections()
		response, _, err = a.exchange(timed, client, path, payload)
	}
	if err != nil {
		return unanswered(ctx, err, "the agent cannot be reached")
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return unanswered(ctx, err, "the agent's answer broke off")
	}
	if response.StatusCode == http.StatusOK {
		if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) || json.Unmarshal(data, answer) != nil {
			return notOfTheAgent()
		}
		return nil
	}
	var failure agentFailure
	_ = json.Unmarshal(data, &failure) // an answer that is no JSON leaves only the status
	return agentError(response.StatusCode, failure, response.Header.Get("Retry-After"))
}

// exchange sends a request. Where it fails, isStale says that a used connection ended without any answer.
func (a *AgentClient) exchange(
	ctx context.Context, client *http.Client, path string, payload []byte,
) (response *http.Response, isStale bool, err error) {
	var isReused, isAnswered atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:              func(connection httptrace.GotConnInfo) { isReused.Store(connection.Reused) },
		GotFirstResponseByte: func() { isAnswered.Store(true) },
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base+path, bytes.NewReader(payload))
	if err != nil {
		return nil, false, configuration("the agent's address is not usable")
	}
	request.Header.Set("X-Tokenseal", "1")
	request.Header.Set("Content-Type", "application/json")
	if a.token != "" {
		request.Header.Set("Authorization", "Bearer "+a.token)
	}
	response, err = client.Do(request)
	return response, isReused.Load() && !isAnswered.Load(), err
}

// unanswered is the error of a call that ended without a whole answer.
func unanswered(ctx context.Context, err error, message string) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return &AgentError{Class: "canceled", Message: "the caller canceled the call", cause: context.Canceled}
	// The time of the client itself ends a call without ending its context.
	case errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, context.DeadlineExceeded):
		return &AgentError{Class: "unavailable", Message: "the agent did not answer in time", cause: context.DeadlineExceeded}
	}
	return &AgentError{Class: "unavailable", Message: message}
}

func agentError(status int, failure agentFailure, retryAfter string) error {
	var details struct {
		Class         string `json:"class"`
		Message       string `json:"message"`
		Hint          string `json:"hint"`
		CorrelationID string `json:"correlation_id"`
		NeedsConsent  bool   `json:"needs_consent"`
		Status        int    `json:"status"`
	}
	_ = json.Unmarshal(failure.Error, &details)
	if status == statusOfItem {
		status = itemStatus(details.Status, details.Class)
	}
	if details.Class == "" {
		details.Class = "unexpected"
	}
	if details.Message == "" {
		details.Message = fmt.Sprintf("the agent answered with status %d", status)
	}
	seconds, _ := strconv.Atoi(retryAfter)
	return &AgentError{
		Status: status, Class: details.Class, Message: details.Message, Hint: details.Hint,
		CorrelationID: details.CorrelationID, RetryAfter: seconds,
		NeedsConsent: failure.NeedsConsent || details.NeedsConsent, Expires: failure.Expires,
	}
}

// statusOfItem is in the place of the status of an item of a batch, which its error names.
const statusOfItem = -1

// itemStatus is the status of an item's error; agents before this version send no status; it follows from the class.
func itemStatus(named int, class string) int {
	if named >= 400 && named <= 599 {
		return named
	}
	if status, ok := map[string]int{"malformed": 400, "policy": 403, "not_found": 404, "too_many": 429}[class]; ok {
		return status
	}
	return 422
}

func notOfTheAgent() error {
	return &AgentError{Class: "unexpected", Message: "the answer is not one of the agent"}
}

// rowOf is the row of an answer with its tokens, its plain columns and its revision.
func rowOf(call func(*Row) error) (Row, error) {
	var row Row
	if err := call(&row); err != nil {
		return Row{}, err
	}
	if row.Tokens == nil || row.Plain == nil || row.Revision == "" {
		return Row{}, notOfTheAgent()
	}
	return row, nil
}
