package tokenseal

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// maxSafeInteger is the largest whole number that a float64 distinguishes from both neighbours.
const maxSafeInteger = 1<<53 - 1

// maxRequest is how many bytes of a request the agent reads (docs/agent.md). A longer one ends the connection before it answers.
const maxRequest = 2 << 20

// wire is the key as it is sent: another spelling of a number would name another row.
func (k RowKey) wire() (RowKey, error) {
	row, err := wireKeys(k.Row)
	return RowKey{k.Table, row}, err
}

func (p Put) wire() (Put, error) {
	key, err := p.RowKey.wire()
	if err != nil {
		return Put{}, err
	}
	p.RowKey = key
	for column, token := range p.Tokens {
		if token != nil {
			err = orBadText(err, fmt.Sprintf("the token for column %q", column), *token)
		}
	}
	plain := maps.Clone(p.Plain)
	for column, value := range p.Plain {
		if err == nil {
			plain[column], err = wirePlain(column, value)
		}
	}
	p.Plain = plain
	return p, err
}

func wireKeys(given map[string]any) (map[string]any, error) {
	keys := maps.Clone(given)
	for column, value := range given {
		var err error
		if keys[column], err = wireKey(column, value); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// wireKey is nil, a text or a whole number.
func wireKey(column string, value any) (any, error) {
	switch value := normalized(value).(type) {
	case nil:
		return nil, nil
	case string, int64, uint64, float64, float32:
		return wireScalar(column, value)
	}
	return nil, valueRefusal(column, "a value of this kind names no row: pass text, a whole number or FromDatabase")
}

// wirePlain leaves what JSON has a form for, and a time as RFC 3339.
func wirePlain(column string, value any) (any, error) {
	if at, ok := value.(time.Time); ok {
		return at, nil
	}
	switch value := normalized(value).(type) {
	case nil, bool, time.Time:
		return value, nil
	case string, int64, uint64, float64, float32:
		return wireScalar(column, value)
	}
	return nil, valueRefusal(column, "a value of this kind has no one text: pass it as text")
}

func wireScalar(column string, value any) (any, error) {
	switch value := value.(type) {
	case string:
		return value, orBadText(nil, fmt.Sprintf("the value of %q", column), value)
	case uint64:
		if value > math.MaxInt64 {
			return nil, valueRefusal(column, "the value is not an integer of 64 bits")
		}
	case float32:
		return wireScalar(column, float64(value))
	case float64:
		if value != math.Trunc(value) || math.Abs(value) > maxSafeInteger {
			return nil, valueRefusal(column, "the number may have lost digits: pass an integer, json.Number or text")
		}
		return strconv.FormatInt(int64(value), 10), nil
	}
	return value, nil
}

func valueRefusal(column, why string) error {
	return refused(fmt.Sprintf("column %q: %s", column, why))
}

// orBadText keeps an earlier error. A byte that is not UTF-8 would be replaced in JSON, and the value be another one.
func orBadText(err error, what, text string) error {
	if err == nil && !utf8.ValidString(text) {
		return refused(what + " is not UTF-8 text")
	}
	return err
}

// encoded is a request's body. Its error carries nothing of the values.
func encoded(body any) ([]byte, error) {
	payload, err := json.Marshal(body)
	if err != nil {
		return nil, refused("the request to the agent cannot be written as JSON")
	}
	if len(payload) > maxRequest {
		message := fmt.Sprintf("the request is over the agent's %d bytes", maxRequest)
		return nil, &AgentError{Status: 413, Class: "body_too_long", Message: message}
	}
	return payload, nil
}
