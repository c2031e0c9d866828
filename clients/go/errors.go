package tokenseal

import "errors"

// The kinds of errors, for [errors.Is]. Every error of this package is [ErrTokenseal]; none carries a value, a key or a
// stored text.
var (
	// ErrTokenseal is the base of every error of this package.
	ErrTokenseal = errors.New("tokenseal")
	// ErrMalformed: the stored text is not what its row or its mark says it is. Trying again does not help.
	ErrMalformed = errors.New("malformed")
	// ErrNotAuthentic: another cell, another key, or damage. Deliberately one answer for all three.
	ErrNotAuthentic = errors.New("not authentic")
	// ErrRefused: the configuration, the profile or the caller's key forbids it. Nothing weaker was read or written.
	ErrRefused = errors.New("refused")
	// ErrConfiguration: a setting or a profile is unusable; also [ErrRefused].
	ErrConfiguration = errors.New("configuration")
	// ErrUnsupported: this build does not do it; the message names what does. Also [ErrRefused].
	ErrUnsupported = errors.New("unsupported")
	// ErrKeyService: the key service did not answer, or refused; see [KeyServiceError].
	ErrKeyService = errors.New("key service")
	// ErrAgent: the agent answered with an error, or not at all; see [AgentError].
	ErrAgent = errors.New("agent")
)

type plainError struct {
	message string
	kinds   []error
}

func (e *plainError) Error() string   { return e.message }
func (e *plainError) Unwrap() []error { return append([]error{ErrTokenseal}, e.kinds...) }

func malformed(message string) error { return &plainError{message, []error{ErrMalformed}} }
func refused(message string) error   { return &plainError{message, []error{ErrRefused}} }
func configuration(message string) error {
	return &plainError{message, []error{ErrRefused, ErrConfiguration}}
}
func unsupported(message string) error {
	return &plainError{message, []error{ErrRefused, ErrUnsupported}}
}

func notAuthentic() error {
	return &plainError{
		"value does not open: wrong key, wrong encryption context, or damaged", []error{ErrNotAuthentic},
	}
}

// KeyServiceError says how the key service failed.
type KeyServiceError struct {
	// Kind is one of denied, not_found, disabled, pending_deletion, throttled, unavailable, timeout, wrong_key,
	// misconfigured and invalid_request.
	Kind    string
	message string
}

// NewKeyServiceError makes the error that a [KMS] implementation returns; the message must carry no secret.
func NewKeyServiceError(kind, message string) *KeyServiceError {
	return &KeyServiceError{Kind: kind, message: message}
}

func (e *KeyServiceError) Error() string { return e.message }

// Unwrap makes the error [ErrKeyService] and [ErrTokenseal].
func (e *KeyServiceError) Unwrap() []error { return []error{ErrTokenseal, ErrKeyService} }

// IsRetryable says whether the same call can succeed a little later without any change.
func (e *KeyServiceError) IsRetryable() bool {
	return e.Kind == "throttled" || e.Kind == "unavailable" || e.Kind == "timeout"
}

// AgentError is an answer of the agent: its HTTP status (0: no answer) and its message.
type AgentError struct {
	Status        int
	Class         string
	Message       string
	Hint          string
	CorrelationID string
	// RetryAfter is in seconds; 0 if the agent names none.
	RetryAfter   int
	NeedsConsent bool
	// Expires is the end of another's lease (status 423).
	Expires string
	// cause is context.Canceled where the caller ended the call, and context.DeadlineExceeded where its time was over.
	cause error
}

func (e *AgentError) Error() string { return e.Message }

// Unwrap makes the error [ErrAgent] and [ErrTokenseal]; also context.Canceled where the caller canceled the call, and
// context.DeadlineExceeded where it did not end in time.
func (e *AgentError) Unwrap() []error {
	if e.cause != nil {
		return []error{ErrTokenseal, ErrAgent, e.cause}
	}
	return []error{ErrTokenseal, ErrAgent}
}
