package chacha_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenseal"
	_ "tokenseal/chacha"
)

const arn = "arn:aws:kms:us-east-1:111122223333:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"

// fixedKMS has one data key.
type fixedKMS struct{ key []byte }

func (f fixedKMS) GenerateDataKey(context.Context, string, map[string]string) (tokenseal.DataKey, error) {
	return tokenseal.DataKey{Plaintext: append([]byte{}, f.key...), Wrapped: []byte{0}, KeyID: arn}, nil
}

func (f fixedKMS) Decrypt(context.Context, string, []byte, map[string]string) (tokenseal.DataKey, error) {
	return tokenseal.DataKey{Plaintext: append([]byte{}, f.key...), KeyID: arn}, nil
}

func (f fixedKMS) DescribeKey(context.Context, string) (string, error) { return arn, nil }

type vector struct {
	Name, Stored string
	DataKey      []byte `json:"data_key"`
	Plaintext    []byte
	Binding      struct {
		Table, Column string
		Key, Owner    [][2]string
	}
}

func TestTheVectorOfTheSuiteOpensAndWhatIsSealedOpens(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "crates", "envelope-core", "tests", "vectors", "bound.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, vector := range file.Vectors {
		if vector.Name != "chacha20_poly1305" && vector.Name != "fail_suite_exchanged" {
			continue
		}
		row, owner, key, owners := map[string]any{}, map[string]any{}, []any{}, []any{}
		for _, pair := range vector.Binding.Key {
			row[pair[0]], key = tokenseal.FromDatabase(pair[1]), append(key, pair[0])
		}
		for _, pair := range vector.Binding.Owner {
			owner[pair[0]], owners = tokenseal.FromDatabase(pair[1]), append(owners, pair[0])
		}
		profile, err := tokenseal.NewProfile(map[string]any{
			"name": "vectors", "context": map[string]any{"Application": "test"},
			"tables": []any{map[string]any{
				"name": vector.Binding.Table, "key": key, "owner": owners, "tokens": []any{vector.Binding.Column},
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		config := tokenseal.Config{KeyID: arn, Profile: profile, EnvelopeFormat: "v3", Suite: "chacha20-poly1305"}
		sealer, err := tokenseal.New(fixedKMS{vector.DataKey}, config)
		if err != nil {
			t.Fatal(err)
		}
		cell := tokenseal.Cell{Table: vector.Binding.Table, Column: vector.Binding.Column, Row: row, Owner: owner}
		opened, err := sealer.Open(context.Background(), vector.Stored, cell)
		if strings.HasPrefix(vector.Name, "fail_") != (err != nil) || opened != string(vector.Plaintext) {
			t.Fatal(vector.Name, err)
		}
		sealed, err := sealer.Seal(context.Background(), "x", cell)
		if again, openErr := sealer.Open(context.Background(), sealed.Text, cell); err != nil || openErr != nil || again != "x" {
			t.Fatal(err, openErr)
		}
	}
}
