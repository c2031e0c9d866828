# What is refused before the provider is asked: these runs need no schema of provider 6.
mock_provider "aws" {}

variables {
  application = "vod-tender"
  environment = "production"
}

run "a_short_rotation_period_is_refused" {
  command         = plan
  expect_failures = [var.rotation_period_in_days]
  variables {
    rotation_period_in_days = 89
  }
}

run "a_long_rotation_period_is_refused" {
  command         = plan
  expect_failures = [var.rotation_period_in_days]
  variables {
    rotation_period_in_days = 2561
  }
}

run "an_alias_without_its_prefix_is_refused" {
  command         = plan
  expect_failures = [var.alias_name]
  variables {
    alias_name = "vod-tender-production"
  }
}

run "a_short_deletion_window_is_refused" {
  command         = plan
  expect_failures = [var.deletion_window_in_days]
  variables {
    deletion_window_in_days = 6
  }
}

run "an_empty_context_is_refused" {
  command         = plan
  expect_failures = [var.encryption_context]
  variables {
    encryption_context = {}
  }
}

run "a_wildcard_role_is_refused" {
  command         = plan
  expect_failures = [var.migrator_roles]
  variables {
    migrator_roles = ["arn:aws:iam::123456789012:role/*"]
  }
}
