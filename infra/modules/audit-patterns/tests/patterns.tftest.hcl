run "without_names_every_resource_counts" {
  command = plan

  assert {
    condition     = length(output.filters) == length(output.metrics) + 4
    error_message = "one filter for each metric, and five for the trail, its logs, the alarms, their rules and their topics"
  }
  assert {
    condition     = output.filters["KMSUnauthorized"].pattern == "{ ($.eventSource = \"kms.amazonaws.com\") && ($.errorCode = \"AccessDenied*\") }"
    error_message = "any denial, as long as no key is named"
  }
}

run "a_denial_that_names_no_key_is_counted_with_our_own" {
  command = plan

  variables {
    key_arns = ["arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"]
  }

  assert {
    condition     = strcontains(output.filters["KMSUnauthorized"].pattern, "*11111111-2222-3333-4444-555555555555")
    error_message = "our key"
  }
  assert {
    condition     = strcontains(output.filters["KMSUnauthorized-2"].pattern, "NOT EXISTS")
    error_message = "a denied request may lack the key's ARN"
  }
}

run "patterns_fit_cloudwatch_however_many_and_long_the_names_are" {
  command = plan

  variables {
    key_arns         = [for n in range(12) : "arn:aws:kms:ap-southeast-2:123456789012:key/mrk-1111111111111111111111111111111${n % 10}"]
    watched_key_arns = [for n in range(5) : "arn:aws:kms:ap-southeast-2:123456789012:key/11111111-2222-3333-4444-55555555555${n}"]
    alias_names      = [for n in range(4) : "alias/${join("", [for i in range(249) : "a"])}${n}"]
    role_names       = [for n in range(7) : "${join("", [for i in range(63) : "r"])}${n}"]
    secret_prefixes  = [for n in range(3) : "${join("", [for i in range(148) : "s"])}${n}/"]
    trail_name       = join("", [for i in range(128) : "t"])
    log_group_name   = "/${join("", [for i in range(199) : "g"])}"
    log_bucket_names = [for n in range(4) : "${join("", [for i in range(62) : "b"])}${n}"]
    trail_role_names = [for n in range(4) : "${join("", [for i in range(63) : "r"])}${n}"]
    alarm_prefix     = join("", [for i in range(80) : "a"])
    topic_arns       = [for n in range(3) : "arn:aws-us-gov:sns:us-gov-west-1:123456789012:${join("", [for i in range(119) : "t"])}${n}"]
  }

  assert {
    condition     = alltrue([for filter in values(output.filters) : length(filter.pattern) <= 1024])
    error_message = "a filter pattern has at most 1,024 characters: ${jsonencode({ for name, filter in output.filters : name => length(filter.pattern) if length(filter.pattern) > 1024 })}"
  }
  assert {
    condition     = length(output.filters) <= 100
    error_message = "a log group has at most 100 metric filters"
  }
}

run "an_alias_is_refused" {
  command         = plan
  expect_failures = [var.key_arns]

  variables {
    key_arns = ["arn:aws:kms:eu-central-1:123456789012:alias/vod-tender-production"]
  }
}

run "an_alias_among_the_watched_keys_is_refused" {
  command         = plan
  expect_failures = [var.watched_key_arns]

  variables {
    watched_key_arns = ["arn:aws:kms:eu-central-1:123456789012:alias/vod-tender-production"]
  }
}

run "a_role_by_its_arn_is_refused" {
  command         = plan
  expect_failures = [var.role_names]

  variables {
    role_names = ["arn:aws:iam::123456789012:role/vod-tender-production-application"]
  }
}

run "a_wildcard_prefix_is_refused" {
  command         = plan
  expect_failures = [var.secret_prefixes]

  variables {
    secret_prefixes = ["vod-tender/*"]
  }
}

run "a_topic_by_its_name_is_refused" {
  command         = plan
  expect_failures = [var.topic_arns]

  variables {
    topic_arns = ["alarms"]
  }
}

run "a_wildcard_among_alarms_is_refused" {
  command         = plan
  expect_failures = [var.alarm_prefix]

  variables {
    alarm_prefix = "*"
  }
}

run "a_trail_by_its_arn_is_refused" {
  command         = plan
  expect_failures = [var.trail_name]

  variables {
    trail_name = "arn:aws:cloudtrail:eu-central-1:123456789012:trail/audit"
  }
}

run "a_log_group_by_its_arn_is_refused" {
  command         = plan
  expect_failures = [var.log_group_name]

  variables {
    log_group_name = "arn:aws:logs:eu-central-1:123456789012:log-group:audit"
  }
}
