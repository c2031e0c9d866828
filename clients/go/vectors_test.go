package tokenseal

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

type boundVector struct {
	Name, Error, Stored, Suite string
	DataKey                    []byte `json:"data_key"`
	Wrapped                    []byte `json:"wrapped_data_key"`
	MessageID                  []byte `json:"message_id"`
	Plaintext                  []byte
	CanonicalBinding           string `json:"canonical_binding"`
	Binding                    struct {
		Table, Column string
		Key, Owner    [][2]string
	}
}

// sealerOf is a sealer whose profile is the vector's table, and the vector's cell.
func sealerOf(t *testing.T, vector boundVector) (*Sealer, Cell, binding) {
	cell := Cell{
		Table: vector.Binding.Table, Column: vector.Binding.Column, Row: map[string]any{}, Owner: map[string]any{},
	}
	types, bound := map[string]any{}, binding{table: cell.Table, column: cell.Column}
	var key, owner []any
	for _, each := range vector.Binding.Key {
		cell.Row[each[0]], types[each[0]] = each[1], "text"
		key, bound.key = append(key, each[0]), append(bound.key, pair{each[0], each[1]})
	}
	for _, each := range vector.Binding.Owner {
		cell.Owner[each[0]], types[each[0]] = each[1], "text"
		owner, bound.owner = append(owner, each[0]), append(bound.owner, pair{each[0], each[1]})
	}
	table := map[string]any{
		"name": cell.Table, "key": key, "owner": owner, "tokens": []any{cell.Column}, "types": types,
	}
	made := profile(t, map[string]any{
		"name": "vectors", "context": map[string]any{"Application": "test"}, "tables": []any{table},
	})
	return sealer(t, fixedKMS{key: vector.DataKey}, Config{Profile: made}), cell, bound
}

func TestBoundVectorsOpenOrAreRefusedAsTheySay(t *testing.T) {
	file := readVectors[struct{ Vectors []boundVector }](t, "bound.json")
	for _, vector := range file.Vectors {
		t.Run(vector.Name, func(t *testing.T) {
			made, cell, bound := sealerOf(t, vector)
			opened, err := made.Open(ctx, vector.Stored, cell)
			if strings.HasPrefix(vector.Name, "fail_") {
				expected := map[string]error{"malformed": ErrMalformed, "not_authentic": ErrNotAuthentic}[vector.Error]
				isUnmarked := errors.Is(err, ErrRefused) && !strings.HasPrefix(vector.Stored, v3Mark)
				lacksSuite := newChaCha == nil && errors.Is(err, ErrUnsupported)
				if !errors.Is(err, expected) && !isUnmarked && !lacksSuite {
					t.Fatalf("%v", err)
				}
				return
			}
			isChaCha := vector.Suite == "0xf478"
			switch {
			case isChaCha && newChaCha == nil:
				if !errors.Is(err, ErrUnsupported) {
					t.Fatalf("%v", err)
				}
				return
			case !utf8.Valid(vector.Plaintext):
				if !errors.Is(err, ErrMalformed) {
					t.Fatalf("%v", err)
				}
			case err != nil || opened != string(vector.Plaintext):
				t.Fatalf("%q %v", opened, err)
			}
			canonical, err := bound.canonical()
			if err != nil || hex.EncodeToString(canonical) != vector.CanonicalBinding {
				t.Fatalf("%x %v", canonical, err)
			}
			suite, _ := strconv.ParseUint(vector.Suite, 0, 16)
			stored, err := sealV3(uint16(suite), vector.DataKey, vector.Wrapped, bound, vector.Plaintext, vector.MessageID)
			if err != nil || stored != vector.Stored {
				t.Fatalf("%v", err)
			}
		})
	}
}

type formatVector struct {
	Format, Stored, Plaintext string
	DataKey                   string `json:"data_key"`
	EncryptionKey             string `json:"encryption_key"`
}

func TestFormatVectorsAreReadAsTheirRowsSay(t *testing.T) {
	file := readVectors[struct{ Vectors []formatVector }](t, "formats.json")
	with := func(cell Cell, version any) Cell { cell.Version = version; return cell }
	expect := func(t *testing.T, made *Sealer, text string, cell Cell, plaintext string, wanted error) {
		t.Helper()
		opened, err := made.Open(ctx, text, cell)
		if !errors.Is(err, wanted) || opened != plaintext {
			t.Fatalf("%q %v", opened, err)
		}
	}
	for at, vector := range file.Vectors {
		t.Run(vector.Format+strconv.Itoa(at), func(t *testing.T) {
			if strings.HasPrefix(vector.Format, "kms-v2") {
				key, _ := base64.StdEncoding.DecodeString(vector.DataKey)
				for _, plain := range []bool{false, true} {
					made := sealer(t, fixedKMS{key: key, plain: plain}, Config{})
					expect(t, made, vector.Stored, vodCell(), vector.Plaintext, nil)
					expect(t, made, vector.Stored, with(vodCell(), 2), vector.Plaintext, nil)
				}
				return
			}
			kms := fixedKMS{key: make([]byte, 32)}
			made := sealer(t, kms, Config{EncryptionKey: vector.EncryptionKey})
			expect(t, made, vector.Stored, with(vodCell(), 2), "", ErrMalformed)
			if vector.Format == "direct-aes" {
				expect(t, made, vector.Stored, with(vodCell(), 1), vector.Plaintext, nil)
				expect(t, made, vector.Stored, vodCell(), "", ErrRefused)
				return
			}
			expect(t, made, vector.Stored, with(vodCell(), 0), "", ErrMalformed)
			expect(t, made, vector.Stored, with(vodCell(), Null), "", ErrMalformed)
			crm := crmProfile(t)
			expect(t, sealer(t, kms, Config{Profile: crm}), vector.Stored, crmCell(), "", ErrRefused)
			legacy := func(_ context.Context, text string, cell LegacyCell) (string, error) {
				return cell.Row["id"] + *cell.Owner["tenant_id"] + strconv.Itoa(len(text)), nil
			}
			config := Config{Profile: crm, Legacy: legacy}
			expect(t, sealer(t, kms, config), vector.Stored, crmCell(), "7acme"+strconv.Itoa(len(vector.Stored)), nil)
		})
	}
}

type canonicalVector struct {
	Name, Table, Column string
	Row, Owner          map[string]any
	CanonicalRow        map[string]string  `json:"canonical_row"`
	CanonicalOwner      map[string]*string `json:"canonical_owner"`
	BoundContext        map[string]string  `json:"bound_context"`
	PlainContext        map[string]string  `json:"plain_context"`
	CanonicalBinding    string             `json:"canonical_binding"`
}

// givenKeys are the keys and owners of a vector as the client takes them.
func givenKeys(values map[string]any) map[string]any {
	taken := map[string]any{}
	for name, value := range values {
		switch value := value.(type) {
		case map[string]any:
			taken[name] = FromDatabase(value["from_database"].(string))
		case float64:
			taken[name] = int(value)
		default:
			taken[name] = value
		}
	}
	return taken
}

func TestKeysBecomeTheTextThatTheDatabaseStores(t *testing.T) {
	file := readVectors[struct {
		Profile map[string]any
		Vectors []canonicalVector
	}](t, "canonical.json")
	formats := readVectors[struct{ Vectors []formatVector }](t, "formats.json")
	envelope := formats.Vectors[1].Stored
	for _, vector := range file.Vectors {
		t.Run(vector.Name, func(t *testing.T) {
			var contexts []map[string]string
			made := sealer(t, fixedKMS{contexts: &contexts}, Config{Profile: profile(t, file.Profile)})
			cell := Cell{
				Table: vector.Table, Column: vector.Column, Row: givenKeys(vector.Row), Owner: givenKeys(vector.Owner),
			}
			_, err := made.Open(ctx, envelope, cell)
			if strings.HasPrefix(vector.Name, "fail_") {
				_, sealErr := made.Seal(ctx, "x", cell)
				if !errors.Is(err, ErrRefused) || !errors.Is(sealErr, ErrRefused) {
					t.Fatalf("%v, %v", err, sealErr)
				}
				return
			}
			if !errors.Is(err, ErrNotAuthentic) {
				t.Fatalf("%v", err)
			}
			if !reflect.DeepEqual(contexts, []map[string]string{vector.BoundContext, vector.PlainContext}) {
				t.Fatalf("%v", contexts)
			}
			layout, bound, err := made.cell(cell)
			canonical, _ := bound.canonical()
			if err != nil || hex.EncodeToString(canonical) != vector.CanonicalBinding {
				t.Fatalf("%x %v", canonical, err)
			}
			for at, column := range layout.key {
				if bound.key[at].value != vector.CanonicalRow[column] {
					t.Fatalf("%v", bound.key)
				}
			}
		})
	}
}

type v2Vector struct {
	Name, Error, Stored string
	DataKey             []byte `json:"data_key"`
	Plaintext           []byte
	Context             map[string]string
}

// contextKMS unwraps to one data key under one context, or under any if it has none.
type contextKMS struct {
	fixedKMS
	context map[string]string
}

func (c contextKMS) Decrypt(ctx context.Context, key string, wrapped []byte, pairs map[string]string) (DataKey, error) {
	if c.context != nil && !reflect.DeepEqual(pairs, c.context) {
		return DataKey{}, ErrorOfCode("Decrypt", "InvalidCiphertextException", 400)
	}
	return c.fixedKMS.Decrypt(ctx, key, wrapped, pairs)
}

func TestVersion2VectorsOpenUnderTheirContextOrAreRefusedAsTheySay(t *testing.T) {
	file := readVectors[struct{ Vectors []v2Vector }](t, "envelope_v2.json")
	for _, vector := range file.Vectors {
		t.Run(vector.Name, func(t *testing.T) {
			cell := vodCell()
			cell.Version = 2
			if vector.Name == "an_empty_key_value_leaves_the_context" {
				cell.Row["channel"] = ""
			}
			made := sealer(t, contextKMS{fixedKMS{key: vector.DataKey}, vector.Context}, Config{})
			opened, err := made.Open(ctx, vector.Stored, cell)
			expected := map[string]error{"malformed": ErrMalformed, "not_authentic": ErrNotAuthentic}[vector.Error]
			if vector.Name == "not_text" {
				expected = ErrMalformed
			}
			if !errors.Is(err, expected) || err == nil && opened != string(vector.Plaintext) {
				t.Fatalf("%q %v", opened, err)
			}
		})
	}
}
