mock_provider "aws" {}

variables {
  cluster_name    = "main"
  service_account = "vod-tender/vod-tender"
  role_arn        = "arn:aws:iam::123456789012:role/vod-tender-production-application"
}

run "a_wildcard_service_account_is_refused" {
  command         = plan
  expect_failures = [var.service_account]
  variables {
    service_account = "vod-tender/*"
  }
}

run "a_cluster_by_its_arn_is_refused" {
  command         = plan
  expect_failures = [var.cluster_name]
  variables {
    cluster_name = "arn:aws:eks:eu-central-1:123456789012:cluster/main"
  }
}

run "a_user_is_refused" {
  command         = plan
  expect_failures = [var.role_arn]
  variables {
    role_arn = "arn:aws:iam::123456789012:user/somebody"
  }
}

run "a_tag_of_aws_is_refused" {
  command         = plan
  expect_failures = [var.tags]
  variables {
    tags = { "aws:owner" = "me" }
  }
}
