package tokenseal

import "slices"

// Error codes of the AWS KMS API reference, and those that the SDKs retry as throttling.
var codes = map[string][]string{
	"denied": {
		"AccessDenied", "AccessDeniedException", "NotAuthorized", "OptInRequired", "UnrecognizedClientException",
		"InvalidClientTokenId", "ExpiredToken", "ExpiredTokenException", "InvalidSignatureException",
		"SignatureDoesNotMatch", "IncompleteSignature", "MissingAuthenticationToken",
		"MissingAuthenticationTokenException", "RequestExpired",
	},
	"not_found":        {"NotFoundException"},
	"disabled":         {"DisabledException"},
	"pending_deletion": {"KMSInvalidStateException"},
	"wrong_key":        {"IncorrectKeyException"},
	"throttled": {
		"Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
		"TooManyRequestsException", "LimitExceededException", "RequestLimitExceeded", "SlowDown",
	},
	"timeout": {"DependencyTimeoutException", "RequestTimeout", "RequestTimeoutException"},
	"unavailable": {
		"KMSInternalException", "KeyUnavailableException", "InternalFailure", "InternalError", "ServiceUnavailable",
		"ServiceUnavailableException",
	},
}

// ErrorOfCode is the error for an error code of AWS KMS and the HTTP status that it came with (0 if unknown): what a
// [KMS] implementation returns.
func ErrorOfCode(operation, code string, status int) error {
	if code == "InvalidCiphertextException" {
		return notAuthentic()
	}
	kind := kindOf(code, status)
	message := "AWS KMS: " + operation + " failed: " + kind
	if len(code) <= 64 && idText.MatchString(code) {
		message += " (" + code + ")"
	}
	return &KeyServiceError{kind, message}
}

func kindOf(code string, status int) string {
	for kind, known := range codes {
		if slices.Contains(known, code) {
			return kind
		}
	}
	switch {
	case status == 429:
		return "throttled"
	case status == 408 || status == 504:
		return "timeout"
	case status >= 500:
		return "unavailable"
	case status == 401 || status == 403:
		return "denied"
	case code == "":
		return "unavailable"
	}
	return "invalid_request"
}
