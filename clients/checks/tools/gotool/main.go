// The Go client, driven by lines of JSON: a job per line on standard input, an answer per line on standard output.
package main

import (
	"bufio"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	_ "github.com/lib/pq"

	"tokenseal"
	"tokenseal/awskms"
	_ "tokenseal/chacha"
	_ "tokenseal/tomlprofile"
)

type job struct {
	Op, Key, Profile, Format, Suite, Table, Column, Value, Text, Database string
	Allowed, Channels                                                     []string
	Row, Owner                                                            map[string]any
	Context                                                               map[string]string
	Socket                                                                string
	Times                                                                 int
	ValidFor                                                              int `json:"valid_for"`
	Version                                                               *int
	KeyID                                                                 string `json:"key_id"`
}

var (
	ctx    = context.Background()
	client = kms.New(kms.Options{
		Region:           "us-east-1",
		Credentials:      credentials.NewStaticCredentialsProvider("testing", "testing", ""),
		EndpointResolver: kms.EndpointResolverFromURL(os.Getenv("AWS_ENDPOINT_URL_KMS")),
	})
	names = []struct {
		kind error
		name string
	}{
		{tokenseal.ErrNotAuthentic, "NotAuthentic"}, {tokenseal.ErrMalformed, "Malformed"},
		{tokenseal.ErrKeyService, "KeyServiceError"}, {tokenseal.ErrRefused, "Refused"},
		{tokenseal.ErrAgent, "AgentError"},
	}
	sealers = map[string]*tokenseal.Sealer{}
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked job
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			log.Fatal(err)
		}
		answer, err := run(asked)
		if err != nil {
			answer = map[string]any{"error": nameOf(err)}
			var failed *tokenseal.KeyServiceError
			if errors.As(err, &failed) {
				answer["kind"] = failed.Kind
			}
			var answered *tokenseal.AgentError
			if errors.As(err, &answered) {
				answer["status"] = answered.Status
				if answered.NeedsConsent {
					answer["needs_consent"] = true
				}
			}
		}
		if err := answers.Encode(answer); err != nil {
			log.Fatal(err)
		}
	}
}

func nameOf(err error) string {
	for _, each := range names {
		if errors.Is(err, each.kind) {
			return each.name
		}
	}
	log.Fatal(err)
	return ""
}

func sealerFor(asked job) (*tokenseal.Sealer, error) {
	name := fmt.Sprint(asked.Key, asked.Profile, asked.Allowed, asked.Format, asked.Suite)
	if made, ok := sealers[name]; ok {
		return made, nil
	}
	profile, err := tokenseal.LoadProfile(asked.Profile)
	if err != nil {
		return nil, err
	}
	made, err := tokenseal.New(awskms.New(client), tokenseal.Config{
		KeyID: asked.Key, AllowedKeys: asked.Allowed, Profile: profile, EnvelopeFormat: asked.Format, Suite: asked.Suite,
	})
	sealers[name] = made
	return made, err
}

func run(asked job) (map[string]any, error) {
	if strings.HasPrefix(asked.Op, "agent") {
		agent, err := tokenseal.NewAgentClient(asked.Socket, "")
		if err != nil {
			return nil, err
		}
		return throughAgent(agent, asked)
	}
	if asked.Op == "by-hand" {
		return timed(asked.Times, func() error { return byHand(asked) })
	}
	sealer, err := sealerFor(asked)
	if err != nil {
		return nil, err
	}
	// JSON knows numbers of one kind; keys are whole ones here.
	for name, value := range asked.Row {
		if number, ok := value.(float64); ok {
			asked.Row[name] = int64(number)
		}
	}
	cell := tokenseal.Cell{Table: asked.Table, Column: asked.Column, Row: asked.Row, Owner: asked.Owner, KeyID: asked.KeyID}
	switch asked.Op {
	case "increment":
		retries, err := increment(sealer, asked)
		return map[string]any{"retries": retries}, err
	case "seal":
		sealed, err := sealer.Seal(ctx, asked.Value, cell)
		return map[string]any{
			"text": sealed.Text, "key_id": sealed.KeyID, "version": sealed.Version, "method": sealed.Method,
		}, err
	}
	if asked.Op == "measure" {
		return timed(asked.Times, func() error {
			_, err := sealer.Open(ctx, asked.Text, cell)
			return err
		})
	}
	if asked.Version != nil {
		cell.Version = *asked.Version
	}
	opened, err := sealer.Open(ctx, asked.Text, cell)
	return map[string]any{"value": opened}, err
}

// byHand is what a service does that asks the key service itself for each value.
func byHand(asked job) error {
	parts := strings.Split(strings.TrimPrefix(asked.Text, "kms:v2:"), ":")
	wrapped, err := base64.StdEncoding.DecodeString(parts[0])
	if err != nil {
		return err
	}
	sealed, err := base64.StdEncoding.DecodeString(parts[1])
	if err != nil {
		return err
	}
	answer, err := client.Decrypt(ctx, &kms.DecryptInput{
		CiphertextBlob: wrapped, KeyId: &asked.Key, EncryptionContext: asked.Context,
	})
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(answer.Plaintext)
	if err != nil {
		return err
	}
	opener, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	_, err = opener.Open(nil, sealed[:12], sealed[12:], nil)
	return err
}

// timed is how long each of so many reads took, in microseconds; the first is the one that asks the key service.
func timed(times int, read func() error) (map[string]any, error) {
	taken := make([]float64, times)
	for turn := range taken {
		start := time.Now()
		if err := read(); err != nil {
			return nil, err
		}
		taken[turn] = float64(time.Since(start).Nanoseconds()) / 1000
	}
	return map[string]any{"microseconds": taken}, nil
}

func throughAgent(agent *tokenseal.AgentClient, asked job) (map[string]any, error) {
	item := tokenseal.Item{Table: asked.Table, Column: asked.Column, Row: asked.Row}
	switch asked.Op {
	case "agent-increment":
		retries, err := incrementThroughAgent(agent, asked.Channels)
		return map[string]any{"retries": retries}, err
	case "agent-fresh", "agent-get":
		rows, err := tokensOf(agent, asked)
		return map[string]any{"rows": rows}, err
	case "agent-measure":
		return timed(asked.Times, func() error {
			_, err := agent.Get(ctx, tokenseal.RowKey{Row: asked.Row})
			return err
		})
	case "agent-seal":
		item.Value = &asked.Value
		sealed, err := agent.Seal(ctx, item)
		return map[string]any{"text": sealed.Text, "key_id": sealed.KeyID}, err
	}
	item.Text, item.Version = asked.Text, 2
	opened, err := agent.Open(ctx, item)
	return map[string]any{"value": opened}, err
}

func tokensOf(agent *tokenseal.AgentClient, asked job) (map[string]any, error) {
	rows := map[string]any{}
	for _, channel := range asked.Channels {
		key := tokenseal.RowKey{Row: map[string]any{"provider": "twitch", "channel": channel}}
		var row tokenseal.Row
		var err error
		if asked.Op == "agent-fresh" {
			row, err = agent.Fresh(ctx, key, asked.ValidFor)
		} else {
			row, err = agent.Get(ctx, key)
		}
		if err != nil {
			return nil, err
		}
		rows[channel] = map[string]any{"access": row.Tokens["access_token"], "refresh": row.Tokens["refresh_token"]}
	}
	return rows, nil
}

// incrementThroughAgent is increment through the agent.
func incrementThroughAgent(agent *tokenseal.AgentClient, channels []string) (retries int, err error) {
	for left := channels; len(left) > 0; {
		key := tokenseal.RowKey{Row: map[string]any{"provider": "twitch", "channel": left[0]}}
		err := incrementRow(agent, key)
		var answered *tokenseal.AgentError
		if errors.As(err, &answered) && (answered.Status == 409 || answered.Status == 503) {
			retries++
			continue
		}
		if err != nil {
			return retries, err
		}
		left = left[1:]
	}
	return retries, nil
}

func incrementRow(agent *tokenseal.AgentClient, key tokenseal.RowKey) error {
	row, err := agent.Get(ctx, key)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(*row.Tokens["access_token"])
	if err != nil {
		log.Fatal("the token is not the number that was written")
	}
	next := strconv.Itoa(number + 1)
	put := tokenseal.Put{RowKey: key, Tokens: map[string]*string{"access_token": &next}, IfRevision: row.Revision}
	_, err = agent.Put(ctx, put)
	return err
}

// increment adds one to the number in a row's token, again and again; it returns how often another writer was faster.
func increment(sealer *tokenseal.Sealer, asked job) (retries int, err error) {
	database, err := sql.Open("postgres", asked.Database)
	if err != nil {
		log.Fatal(err)
	}
	defer database.Close()
	for left := asked.Channels; len(left) > 0; {
		row, err := read(database, left[0])
		if err != nil {
			log.Fatal(err)
		}
		keyID, _ := row["encryption_key_id"].(string)
		cell := tokenseal.Cell{
			Table: "oauth_tokens", Column: "access_token", Version: row["encryption_version"], KeyID: keyID,
			Row: map[string]any{"provider": row["provider"], "channel": row["channel"]},
		}
		statement, err := next(sealer, row, cell)
		var failed *tokenseal.KeyServiceError
		if errors.As(err, &failed) && failed.IsRetryable() {
			continue
		}
		if err != nil {
			return retries, err
		}
		result, err := database.Exec(statement.SQL, statement.Params...)
		if err != nil {
			log.Fatal(err)
		}
		if changed, _ := result.RowsAffected(); changed == 1 {
			left = left[1:]
		} else {
			retries++
		}
	}
	return retries, nil
}

func next(sealer *tokenseal.Sealer, row map[string]any, cell tokenseal.Cell) (tokenseal.Statement, error) {
	opened, err := sealer.Open(ctx, fmt.Sprintf("%s", row["access_token"]), cell)
	if err != nil {
		return tokenseal.Statement{}, err
	}
	number, err := strconv.Atoi(opened)
	if err != nil {
		log.Fatal("the token is not the number that was written")
	}
	set := map[string]any{"access_token": strconv.Itoa(number + 1)}
	return sealer.Update(ctx, tokenseal.Update{Table: "oauth_tokens", Old: row, Set: set})
}

func read(database *sql.DB, channel string) (map[string]any, error) {
	rows, err := database.Query("SELECT * FROM oauth_tokens WHERE channel = $1", channel)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil || !rows.Next() {
		return nil, fmt.Errorf("no row: %w", err)
	}
	values, targets := make([]any, len(columns)), make([]any, len(columns))
	for at := range values {
		targets[at] = &values[at]
	}
	row := map[string]any{}
	err = rows.Scan(targets...)
	for at, column := range columns {
		if text, ok := values[at].([]byte); ok {
			values[at] = string(text)
		}
		row[column] = values[at]
	}
	return row, err
}
