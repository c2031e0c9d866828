package tokenseal

import (
	"context"
	"encoding/json"
)

// wireItem is the request's form of an [Item]; Text and Value are left out where they are nil, and never where they are empty.
type wireItem struct {
	Table   string         `json:"table"`
	Column  string         `json:"column"`
	Row     map[string]any `json:"row"`
	Owner   map[string]any `json:"owner,omitempty"`
	Version *int           `json:"version,omitempty"`
	Text    *string        `json:"text,omitempty"`
	Value   *string        `json:"value,omitempty"`
}

type answeredItem struct {
	Value             *string         `json:"value"`
	Text              *string         `json:"text"`
	EncryptionKeyID   string          `json:"encryption_key_id"`
	EncryptionVersion *int            `json:"encryption_version"`
	EncryptionMethod  json.RawMessage `json:"encryption_method"`
	Error             json.RawMessage `json:"error"`
}

// Open opens one stored text; the empty string stays empty.
func (a *AgentClient) Open(ctx context.Context, item Item) (string, error) {
	results, err := a.OpenMany(ctx, []Item{item})
	if err != nil {
		return "", err
	}
	return results[0].Value, results[0].Err
}

// Seal seals one value. The agent may be configured to write another form than an envelope: all four members of the answer
// belong into the row in one statement.
func (a *AgentClient) Seal(ctx context.Context, item Item) (Sealed, error) {
	results, err := a.SealMany(ctx, []Item{item})
	if err != nil {
		return Sealed{}, err
	}
	sealed := results[0]
	return Sealed{sealed.Text, sealed.EncryptionKeyID, sealed.EncryptionVersion, sealed.EncryptionMethod}, sealed.Err
}

// OpenMany opens a batch, in order; an item that does not open has an error and spoils no other.
func (a *AgentClient) OpenMany(ctx context.Context, items []Item) ([]Result, error) {
	return a.batch(ctx, "/v1/open", items, Item.toOpen, answeredItem.opened)
}

// SealMany seals a batch, in order; an item that is not sealed has an error and spoils no other.
func (a *AgentClient) SealMany(ctx context.Context, items []Item) ([]Result, error) {
	return a.batch(ctx, "/v1/seal", items, Item.toSeal, answeredItem.sealed)
}

func (a *AgentClient) batch(
	ctx context.Context, path string, items []Item, wire func(Item) (wireItem, error), result func(answeredItem) Result,
) ([]Result, error) {
	results := make([]Result, len(items))
	var places []int
	var body struct {
		Items []wireItem `json:"items"`
	}
	body.Items = []wireItem{}
	for at, item := range items {
		if sent, err := wire(item); err != nil {
			results[at].Err = err
		} else {
			places, body.Items = append(places, at), append(body.Items, sent)
		}
	}
	if len(places) == 0 && len(items) > 0 {
		return results, nil
	}
	var answer struct {
		Items []answeredItem `json:"items"`
	}
	if err := a.call(ctx, path, body, &answer); err != nil {
		return nil, err
	}
	if len(answer.Items) != len(places) {
		return nil, notOfTheAgent()
	}
	for at, answered := range answer.Items {
		results[places[at]] = result(answered)
	}
	return results, nil
}

func (i Item) toOpen() (wireItem, error) {
	sent, err := i.wire()
	sent.Text = &i.Text
	if err == nil && i.Value != nil {
		err = refused("Item.Value is for Seal: Open takes Text")
	}
	return sent, orBadText(err, "the stored text", i.Text)
}

func (i Item) toSeal() (wireItem, error) {
	if i.Value == nil {
		return wireItem{}, refused("Item.Value is nil: there is nothing to seal")
	}
	sent, err := i.wire()
	sent.Value = i.Value
	if err == nil && i.Text != "" {
		err = refused("Item.Text is for Open: Seal takes Value")
	}
	return sent, orBadText(err, "the value", *i.Value)
}

func (i Item) wire() (wireItem, error) {
	sent := wireItem{Table: i.Table, Column: i.Column}
	var err error
	if sent.Row, err = wireKeys(i.Row); err == nil {
		sent.Owner, err = wireKeys(i.Owner)
	}
	if err == nil && i.Version != nil {
		version := versionNumber(i.Version)
		if sent.Version = &version; version < 0 {
			err = malformed("the row's encryption version is unknown")
		}
	}
	return sent, err
}

func (answered answeredItem) opened() Result {
	switch {
	case answered.Error != nil:
		return Result{Err: agentError(statusOfItem, agentFailure{Error: answered.Error}, "")}
	case answered.Value == nil:
		return Result{Err: notOfTheAgent()}
	}
	return Result{Value: *answered.Value}
}

// sealed refuses an answer that does not say how the text is stored: under a wrong version the value would be lost.
func (answered answeredItem) sealed() Result {
	var method string
	switch {
	case answered.Error != nil:
		return Result{Err: agentError(statusOfItem, agentFailure{Error: answered.Error}, "")}
	case answered.Text == nil || answered.EncryptionVersion == nil || answered.EncryptionMethod == nil,
		json.Unmarshal(answered.EncryptionMethod, &method) != nil:
		return Result{Err: notOfTheAgent()}
	}
	return Result{
		Text: *answered.Text, EncryptionKeyID: answered.EncryptionKeyID,
		EncryptionVersion: *answered.EncryptionVersion, EncryptionMethod: method,
	}
}
