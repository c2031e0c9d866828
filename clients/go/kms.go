package tokenseal

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// KMS has the calls of AWS KMS that are used. The package tokenseal/awskms makes one of the AWS SDK's client.
//
// Each method returns a [KeyServiceError] where the service refuses or does not answer, and Decrypt returns
// [ErrNotAuthentic] for an InvalidCiphertextException. Any other error counts as unavailable, and its text is dropped.
type KMS interface {
	// GenerateDataKey makes a data key of 32 bytes under a key and an encryption context.
	GenerateDataKey(ctx context.Context, keyID string, encryptionContext map[string]string) (DataKey, error)
	// Decrypt unwraps a data key with this key and no other.
	Decrypt(ctx context.Context, keyID string, wrapped []byte, encryptionContext map[string]string) (DataKey, error)
	// DescribeKey is the ARN of the key that an alias names.
	DescribeKey(ctx context.Context, keyID string) (arn string, err error)
}

// DataKey is an answer of [KMS]: the plaintext, the wrapped form (of GenerateDataKey), and the ARN of the key.
type DataKey struct {
	Plaintext []byte
	Wrapped   []byte
	KeyID     string
}

// String hides the plaintext from package fmt.
func (DataKey) String() string { return "DataKey" }

// GoString hides the plaintext from %#v.
func (DataKey) GoString() string { return "DataKey" }

// How long an alias is taken to name the same key, and how old an answer must be before a claim that fits nothing has
// the alias resolved again ("Controlling access to aliases", AWS KMS Developer Guide: up to five minutes).
const (
	aliasTTL = 5 * time.Minute
	minAge   = 10 * time.Second
)

var aboutTheKey = []string{"wrong_key", "denied", "not_found", "disabled", "pending_deletion"}

type resolvedAlias struct {
	arn string
	at  time.Time
}

// keyService is a KMS client, the key that wraps and the keys that may have wrapped.
type keyService struct {
	client  KMS
	keys    []string
	lock    sync.Mutex
	aliases map[string]resolvedAlias
}

func newKeyService(client KMS, key string, allowed []string) (*keyService, error) {
	var keys []string
	for _, each := range append([]string{key}, allowed...) {
		if err := checkConfigured(each); err != nil {
			return nil, err
		}
		if !slices.Contains(keys, each) {
			keys = append(keys, each)
		}
	}
	return &keyService{client: client, keys: keys, aliases: map[string]resolvedAlias{}}, nil
}

func (s *keyService) generate(ctx context.Context, context encryptionContext) (DataKey, error) {
	answer, err := s.client.GenerateDataKey(ctx, s.keys[0], context.pairs)
	if err != nil {
		return DataKey{}, keyFailure(err, "GenerateDataKey")
	}
	isKey := len(answer.Plaintext) == 32 && !bytes.Equal(answer.Plaintext, make([]byte, 32))
	if !isKey || len(answer.Wrapped) < 1 || len(answer.Wrapped) > maxWrappedLen {
		return DataKey{}, notAnAnswer("GenerateDataKey")
	}
	return answer, s.checkAnswer(s.keys[0], answer.KeyID)
}

// pins are the keys to try for a wrapped data key that claims one: each is named in the call, so KMS refuses others.
func (s *keyService) pins(ctx context.Context, claim string) ([]string, error) {
	if claim == "" {
		return s.keys, nil
	}
	if aliasName(claim) != "" {
		at := slices.IndexFunc(s.keys, func(key string) bool { return sameAlias(key, claim) })
		if at < 0 {
			return nil, foreign()
		}
		return append([]string{s.keys[at]}, slices.Concat(s.keys[:at], s.keys[at+1:])...), nil
	}
	if keyID(claim) == "" {
		return nil, foreign()
	}
	for _, key := range s.keys {
		if aliasName(key) == "" && sameKey(key, claim) {
			return []string{key}, nil
		}
	}
	for _, oldest := range []time.Duration{aliasTTL, minAge} {
		for _, key := range s.keys {
			if aliasName(key) == "" {
				continue
			}
			arn, err := s.resolved(ctx, key, oldest)
			if err != nil {
				return nil, err
			}
			if sameKey(arn, claim) {
				return []string{arn}, nil
			}
		}
	}
	return nil, foreign()
}

// unwrap is the data key; [ErrNotAuthentic] where the context is another one or the bytes are damaged.
func (s *keyService) unwrap(
	ctx context.Context, wrapped []byte, pins []string, context encryptionContext,
) ([]byte, error) {
	var failure *KeyServiceError
	for _, pin := range pins {
		answer, err := s.client.Decrypt(ctx, pin, wrapped, context.pairs)
		if errors.Is(err, ErrNotAuthentic) {
			return nil, notAuthentic()
		}
		if err == nil {
			if err := s.checkAnswer(pin, answer.KeyID); err != nil {
				return nil, err
			}
			if len(answer.Plaintext) != 32 {
				return nil, notAuthentic()
			}
			return answer.Plaintext, nil
		}
		failed := keyFailure(err, "Decrypt")
		if !slices.Contains(aboutTheKey, failed.Kind) {
			return nil, failed
		}
		if failure == nil || failure.Kind == "wrong_key" {
			failure = failed
		}
	}
	if failure == nil {
		return nil, &KeyServiceError{"misconfigured", "no AWS KMS key is configured"}
	}
	return nil, failure
}

// checkAnswer: the key of an answer is the one that was asked for; otherwise something else may be answering.
func (s *keyService) checkAnswer(asked, answered string) error {
	arn, ok := parseARN(answered)
	if !ok || keyID(answered) == "" {
		return notAnAnswer("the call")
	}
	own, isARN := parseARN(asked)
	isAlias := aliasName(asked) != ""
	isOther := isARN && (own.partition != arn.partition || own.region != arn.region || own.account != arn.account)
	if isAlias && isOther || !isAlias && !sameKey(asked, answered) {
		return &KeyServiceError{"wrong_key", "AWS KMS answered for another key than the one asked for"}
	}
	if isAlias {
		s.remember(asked, answered)
	}
	return nil
}

func (s *keyService) resolved(ctx context.Context, alias string, oldest time.Duration) (string, error) {
	s.lock.Lock()
	known, isKnown := s.aliases[alias]
	s.lock.Unlock()
	if isKnown && time.Since(known.at) < oldest {
		return known.arn, nil
	}
	arn, err := s.client.DescribeKey(ctx, alias)
	if err != nil {
		failed := keyFailure(err, "DescribeKey")
		// An alias rarely moves: while KMS is out of reach, the last answer is better than none.
		if isKnown && failed.IsRetryable() {
			return known.arn, nil
		}
		return "", failed
	}
	if _, ok := parseARN(arn); !ok {
		return "", notAnAnswer("DescribeKey")
	}
	s.remember(alias, arn)
	return arn, nil
}

func (s *keyService) remember(alias, arn string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.aliases[alias] = resolvedAlias{arn, time.Now()}
}

// keyFailure keeps nothing of an unknown error: it may hold the raw answer, and the answer a plaintext key.
func keyFailure(err error, operation string) *KeyServiceError {
	var failed *KeyServiceError
	if errors.As(err, &failed) {
		return failed
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &KeyServiceError{"timeout", "AWS KMS: " + operation + " did not end in time"}
	}
	return &KeyServiceError{"unavailable", "AWS KMS: " + operation + " failed"}
}

func foreign() error {
	return refused("the value was wrapped under a key that is not allowed; add the key to AllowedKeys (KMS_ALLOWED_KEYS) " +
		"if it is yours, for example after an alias was pointed at another key")
}

func notAnAnswer(operation string) error {
	return &KeyServiceError{"unavailable", "the answer to " + operation + " is not one of AWS KMS"}
}
