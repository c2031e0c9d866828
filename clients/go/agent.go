package tokenseal

import (
	"context"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DefaultSocket is where the agent listens if nothing else is configured.
const DefaultSocket = "/run/tokenseal/agent.sock"

const (
	// maxIdle is less than the agent keeps an idle connection, so that no write meets a closed one.
	maxIdle = 10 * time.Second
	// callWithin is how long a call may take, and refreshWithin how long Fresh may: it waits for other callers' refreshes.
	callWithin    = 30 * time.Second
	refreshWithin = 75 * time.Second
)

var (
	addressText = regexp.MustCompile(`^([^/]+):([0-9]{1,5})$`)
	tokenText   = regexp.MustCompile(`^[!-~]+$`)
)

// AgentClient reaches tokenseal-agent over its Unix socket, or over loopback with a token.
type AgentClient struct {
	// patient is for Fresh.
	client, patient *http.Client
	base, token     string
}

// NewAgentClient takes a path, unix:/path, or 127.0.0.1:PORT, which needs a token; the token may be empty otherwise.
func NewAgentClient(socket, token string) (*AgentClient, error) {
	address := strings.TrimPrefix(socket, "unix:")
	if address == "" {
		address = DefaultSocket
	}
	if token != "" && (!tokenText.MatchString(token) || len(token) > 4096) {
		return nil, configuration("the agent's token has characters that no header can carry")
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: maxIdle}
	agent := &AgentClient{
		client:  &http.Client{Transport: transport, Timeout: callWithin, CheckRedirect: noRedirect},
		patient: &http.Client{Transport: transport, Timeout: refreshWithin, CheckRedirect: noRedirect},
		base:    "http://localhost", token: token,
	}
	parts := addressText.FindStringSubmatch(address)
	if parts == nil {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", address)
		}
		return agent, nil
	}
	if !slices.Contains([]string{"127.0.0.1", "[::1]", "localhost"}, parts[1]) {
		return nil, configuration("the agent is reached over a Unix socket or a loopback address alone")
	}
	if port, _ := strconv.Atoi(parts[2]); port < 1 || port > 65_535 {
		return nil, configuration("the agent's address has a port that does not exist")
	}
	if token == "" {
		return nil, configuration("the agent needs a token over TCP")
	}
	agent.base = "http://" + address
	return agent, nil
}

// noRedirect: the agent redirects nothing, and a request has tokens in it.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Row is a row as the agent answers it.
type Row struct {
	// Tokens and Plain have nil for NULL.
	Tokens            map[string]*string `json:"tokens"`
	Plain             map[string]any     `json:"plain"`
	EncryptionVersion *int               `json:"encryption_version"`
	EncryptionMethod  *string            `json:"encryption_method"`
	EncryptionKeyID   *string            `json:"encryption_key_id"`
	Revision          string             `json:"revision"`
}

// Written is the agent's report of a write.
type Written struct {
	Written  string `json:"written"`
	Revision string `json:"revision"`
}

// RowKey names a row for the agent; the table may be left out for the profile's first one. Keys are texts, whole numbers,
// UUIDs, [FromDatabase], what database/sql scans into, or nil for the NULL of an owner column.
type RowKey struct {
	Table string         `json:"table,omitempty"`
	Row   map[string]any `json:"row"`
}

// Put is a write into a row.
type Put struct {
	RowKey
	Tokens map[string]*string `json:"tokens"`
	Plain  map[string]any     `json:"plain,omitempty"`
	// IfRevision writes only while the row is unchanged (status 409 otherwise). The empty text is no condition; the agent gives
	// no empty revision, and no empty lease.
	IfRevision string `json:"if_revision,omitempty"`
	// Lease is the lease under which the tokens were granted, if any.
	Lease string `json:"lease,omitempty"`
}

// Item is one cell of a batch: Text to open, or Value to seal. Row and Owner are as in [RowKey].
type Item struct {
	Table, Column string
	Row, Owner    map[string]any
	// Version is the row's encryption_version, as in [Cell]; nil: not given.
	Version any
	Text    string
	Value   *string
}

// Result is the answer for one item: Err, or Value, or Text with the matching values of the row's version columns.
type Result struct {
	Value string
	Text  string
	// EncryptionKeyID and EncryptionMethod are empty for NULL.
	EncryptionKeyID   string
	EncryptionVersion int
	EncryptionMethod  string
	Err               error
}

// Get reads a row.
func (a *AgentClient) Get(ctx context.Context, key RowKey, columns ...string) (Row, error) {
	key, err := key.wire()
	if err != nil {
		return Row{}, err
	}
	body := struct {
		RowKey
		Columns []string `json:"columns,omitempty"`
	}{key, columns}
	return rowOf(func(row *Row) error { return a.call(ctx, "/v1/tokens/get", body, row) })
}

// Put writes tokens into a row.
func (a *AgentClient) Put(ctx context.Context, put Put) (Written, error) {
	put, err := put.wire()
	if err != nil {
		return Written{}, err
	}
	var written Written
	if err := a.call(ctx, "/v1/tokens/put", put, &written); err != nil {
		return Written{}, err
	}
	if written.Written == "" || written.Revision == "" {
		return Written{}, notOfTheAgent()
	}
	return written, nil
}

// Delete deletes a row; with a revision only while the row is unchanged.
func (a *AgentClient) Delete(ctx context.Context, key RowKey, ifRevision string) error {
	key, err := key.wire()
	if err != nil {
		return err
	}
	body := struct {
		RowKey
		IfRevision string `json:"if_revision,omitempty"`
	}{key, ifRevision}
	var answer struct {
		Deleted bool `json:"deleted"`
	}
	if err := a.call(ctx, "/v1/tokens/delete", body, &answer); err != nil {
		return err
	}
	if !answer.Deleted {
		return notOfTheAgent()
	}
	return nil
}

// Fresh reads a row whose access token is valid for so many seconds; the agent refreshes it where it must.
func (a *AgentClient) Fresh(ctx context.Context, key RowKey, validFor int) (Row, error) {
	key, err := key.wire()
	if err != nil {
		return Row{}, err
	}
	body := struct {
		RowKey
		ValidFor int `json:"valid_for"`
	}{key, validFor}
	return rowOf(func(row *Row) error { return a.callBy(ctx, a.patient, "/v1/tokens/fresh", body, row) })
}

// Find returns the keys of the rows whose token has this value, by the blind index over its column; the table may be empty for
// the profile's first one.
func (a *AgentClient) Find(ctx context.Context, table, column, value string) ([]map[string]string, error) {
	body := struct {
		Table  string `json:"table,omitempty"`
		Column string `json:"column"`
		Value  string `json:"value"`
	}{table, column, value}
	var answer struct {
		Rows *[]map[string]string `json:"rows"`
	}
	if err := orBadText(nil, "the value", value); err != nil {
		return nil, err
	}
	if err := a.call(ctx, "/v1/tokens/find", body, &answer); err != nil {
		return nil, err
	}
	if answer.Rows == nil {
		return nil, notOfTheAgent()
	}
	return *answer.Rows, nil
}

// Lease takes the right to refresh a row's token for so many seconds (status 423 while another has it).
func (a *AgentClient) Lease(ctx context.Context, key RowKey, seconds int) (lease, expires string, err error) {
	if key, err = key.wire(); err != nil {
		return "", "", err
	}
	body := struct {
		RowKey
		Seconds int `json:"seconds"`
	}{key, seconds}
	var answer struct{ Lease, Expires string }
	if err := a.call(ctx, "/v1/tokens/lease", body, &answer); err != nil {
		return "", "", err
	}
	// An empty lease would be left out of the next Put.
	if answer.Lease == "" || answer.Expires == "" {
		return "", "", notOfTheAgent()
	}
	return answer.Lease, answer.Expires, nil
}

// Release gives a lease back.
func (a *AgentClient) Release(ctx context.Context, key RowKey, lease string) error {
	key, err := key.wire()
	if err == nil && lease == "" {
		err = refused("the lease is empty")
	}
	if err != nil {
		return err
	}
	body := struct {
		RowKey
		Lease string `json:"lease"`
	}{key, lease}
	var answer struct {
		Released *bool `json:"released"`
	}
	if err := a.call(ctx, "/v1/tokens/release", body, &answer); err != nil {
		return err
	}
	if answer.Released == nil {
		return notOfTheAgent()
	}
	return nil
}

// Secret reads a secret's value; the stage may be empty.
func (a *AgentClient) Secret(ctx context.Context, name, stage string) (string, error) {
	body := struct {
		Name  string `json:"name"`
		Stage string `json:"stage,omitempty"`
	}{name, stage}
	var answer struct {
		Value *string `json:"value"`
	}
	if err := a.call(ctx, "/v1/secrets/get", body, &answer); err != nil {
		return "", err
	}
	if answer.Value == nil {
		return "", notOfTheAgent()
	}
	return *answer.Value, nil
}
