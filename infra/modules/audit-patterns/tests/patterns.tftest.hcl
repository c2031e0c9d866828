run "denials_are_not_pinned_to_a_key" {
  command = plan

  variables {
    key_arns = ["arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"]
  }

  assert {
    condition     = output.filters["KMSUnauthorized"].pattern == "{ ($.eventSource = \"kms.amazonaws.com\") && ($.errorCode = \"AccessDenied*\") }"
    error_message = "a denied request may lack the key's ARN"
  }
  assert {
    condition     = output.filters["KMSKeyAtRisk"].pattern == "{ ($.eventSource = \"kms.amazonaws.com\") && (($.eventName = \"DisableKey\") || ($.eventName = \"ScheduleKeyDeletion\")) }"
    error_message = "a disabled key and a scheduled deletion are seen"
  }
  assert {
    condition     = strcontains(output.filters["KMSDecryptCalls"].pattern, "$.resources[0].ARN = \"arn:aws:kms:")
    error_message = "decrypts are counted for the named keys"
  }
}

run "patterns_fit_cloudwatch" {
  command = plan

  variables {
    key_arns = [for n in range(8) : "arn:aws:kms:ap-southeast-2:123456789012:key/mrk-1111111111111111111111111111111${n}"]
  }

  assert {
    condition     = alltrue([for filter in values(output.filters) : length(filter.pattern) <= 1024])
    error_message = "a filter pattern has at most 1,024 characters"
  }
}

run "an_alias_is_refused" {
  command = plan

  variables {
    key_arns = ["arn:aws:kms:eu-central-1:123456789012:alias/vod-tender-production"]
  }

  expect_failures = [var.key_arns]
}
