mock_provider "aws" {}

variables {
  name          = "alias/vod-tender-production"
  target_key_id = "11111111-2222-3333-4444-555555555555"
}

run "the_alias_points_to_the_key" {
  command = plan

  assert {
    condition     = aws_kms_alias.this.name == "alias/vod-tender-production" && aws_kms_alias.this.target_key_id == "11111111-2222-3333-4444-555555555555"
    error_message = "the name and the target are those of the caller"
  }
}

run "an_alias_without_its_prefix_is_refused" {
  command         = plan
  expect_failures = [var.name]
  variables {
    name = "vod-tender-production"
  }
}

run "an_alias_of_aws_is_refused" {
  command         = plan
  expect_failures = [var.name]
  variables {
    name = "alias/aws/vod-tender"
  }
}

run "an_alias_of_an_alias_is_refused" {
  command         = plan
  expect_failures = [var.target_key_id]
  variables {
    target_key_id = "alias/vod-tender-staging"
  }
}
