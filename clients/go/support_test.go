package tokenseal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

const (
	arn      = "arn:aws:kms:us-east-1:111122223333:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
	otherARN = "arn:aws:kms:us-east-1:111122223333:key/aaaaaaaa-4b5a-6978-8796-a5b4c3d2e1f0"
	alias    = "alias/tokens"
	canary   = "canary-5f1d0c7e"
)

var ctx = context.Background()

func TestMain(m *testing.M) {
	for _, name := range []string{
		"KMS_KEY_ID", "TOKEN_ENCRYPTION_KEY_ID", "KMS_ALLOWED_KEYS", "TOKEN_PROFILE", "ENCRYPTION_CONTEXT",
		"ENVELOPE_FORMAT", "BINDING", "PLAINTEXT_POLICY", "READ_FLOOR", "ENCRYPTION_KEY", "DEK_CACHE_TTL", "DEK_CACHE_MAX",
	} {
		os.Unsetenv(name)
		os.Unsetenv(name + "_FILE")
	}
	os.Exit(m.Run())
}

func readVectors[T any](t *testing.T, name string) T {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "crates", "envelope-core", "tests", "vectors", name))
	if err != nil {
		t.Fatal(err)
	}
	var parsed T
	if err := json.Unmarshal(text, &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

// memoryKMS keeps AWS KMS's promises: the key and the context of a wrapped data key must be presented again.
type memoryKMS struct {
	lock    sync.Mutex
	calls   []string
	failure error
	change  func(*DataKey)
	wait    chan struct{}
}

func (m *memoryKMS) begin(call, key string) (cipher.AEAD, string, error) {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.calls = append(m.calls, call)
	if m.failure != nil {
		return nil, "", m.failure
	}
	if key == alias {
		key = arn
	}
	fill := map[string]byte{arn: 1, otherARN: 2}[key]
	if fill == 0 {
		return nil, "", ErrorOfCode(call, "NotFoundException", 400)
	}
	block, err := aes.NewCipher(append(make([]byte, 31), fill))
	if err != nil {
		return nil, "", err
	}
	aead, err := cipher.NewGCM(block)
	return aead, key, err
}

func (m *memoryKMS) answer(key DataKey) DataKey {
	if m.change != nil {
		m.change(&key)
	}
	return key
}

func (m *memoryKMS) GenerateDataKey(_ context.Context, key string, pairs map[string]string) (DataKey, error) {
	aead, key, err := m.begin("GenerateDataKey", key)
	if err != nil {
		return DataKey{}, err
	}
	plaintext, nonce := make([]byte, 32), make([]byte, 12)
	rand.Read(plaintext)
	rand.Read(nonce)
	aad, _ := json.Marshal(pairs)
	wrapped := append([]byte(key[len(key)-36:]), aead.Seal(nonce, nonce, plaintext, aad)...)
	return m.answer(DataKey{plaintext, wrapped, key}), nil
}

func (m *memoryKMS) Decrypt(_ context.Context, key string, wrapped []byte, pairs map[string]string) (DataKey, error) {
	if m.wait != nil {
		<-m.wait
	}
	aead, key, err := m.begin("Decrypt", key)
	if err != nil {
		return DataKey{}, err
	}
	if len(wrapped) < 48 || string(wrapped[:36]) != key[len(key)-36:] {
		return DataKey{}, ErrorOfCode("Decrypt", "IncorrectKeyException", 400)
	}
	aad, _ := json.Marshal(pairs)
	plaintext, err := aead.Open(nil, wrapped[36:48], wrapped[48:], aad)
	if err != nil {
		return DataKey{}, ErrorOfCode("Decrypt", "InvalidCiphertextException", 400)
	}
	return m.answer(DataKey{Plaintext: plaintext, KeyID: key}), nil
}

func (m *memoryKMS) DescribeKey(_ context.Context, key string) (string, error) {
	_, key, err := m.begin("DescribeKey", key)
	return key, err
}

// fixedKMS unwraps everything to the data key of a vector.
type fixedKMS struct {
	key      []byte
	plain    bool
	contexts *[]map[string]string
}

func (f fixedKMS) GenerateDataKey(context.Context, string, map[string]string) (DataKey, error) {
	return DataKey{}, ErrorOfCode("GenerateDataKey", "KMSInternalException", 500)
}

func (f fixedKMS) Decrypt(_ context.Context, _ string, _ []byte, pairs map[string]string) (DataKey, error) {
	if f.contexts != nil {
		*f.contexts = append(*f.contexts, pairs)
		return DataKey{}, ErrorOfCode("Decrypt", "InvalidCiphertextException", 400)
	}
	if _, isBound := pairs["table"]; isBound && f.plain {
		return DataKey{}, ErrorOfCode("Decrypt", "InvalidCiphertextException", 400)
	}
	return DataKey{Plaintext: append([]byte{}, f.key...), KeyID: arn}, nil
}

func (f fixedKMS) DescribeKey(context.Context, string) (string, error) { return arn, nil }

func sealer(t *testing.T, kms KMS, config Config) *Sealer {
	t.Helper()
	if config.KeyID == "" {
		config.KeyID = arn
	}
	made, err := New(kms, config)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func profile(t *testing.T, parsed map[string]any) *Profile {
	t.Helper()
	made, err := NewProfile(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func vodCell() Cell {
	row := map[string]any{"provider": "twitch", "channel": "my-channel"}
	return Cell{Table: "oauth_tokens", Column: "access_token", Row: row}
}

func crmTable() map[string]any {
	return map[string]any{
		"name": "customers", "key": []any{"id"}, "owner": []any{"tenant_id"}, "tokens": []any{"email", "phone"},
		"types": map[string]any{"id": "integer", "tenant_id": "text"},
	}
}

func crmProfile(t *testing.T) *Profile {
	return profile(t, map[string]any{
		"name": "crm", "context": map[string]any{"Application": "crm", "Purpose": "pii"}, "tables": []any{crmTable()},
	})
}

func crmCell() Cell {
	return Cell{
		Table: "customers", Column: "email", Row: map[string]any{"id": 7}, Owner: map[string]any{"tenant_id": "acme"},
	}
}
