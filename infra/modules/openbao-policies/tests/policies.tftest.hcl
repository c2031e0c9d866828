run "without_names_the_policies_are_the_files" {
  command = plan

  assert {
    condition     = alltrue([for name, policy in output.policies : policy == file("../../openbao/policies/${name}.hcl")])
    error_message = "the default names are those of the files"
  }
  assert {
    condition     = join(" ", sort(keys(output.policies))) == "migration reader rotation secrets-reader secrets-writer service"
    error_message = "every file is a policy"
  }
  assert {
    condition     = output.key_id == "vault:transit/tokens" && output.secrets_source == "vault:secret/app"
    error_message = "the settings of the programs"
  }
}

run "every_path_has_the_names_that_were_given" {
  command = plan

  variables {
    transit_mount = "team/transit"
    key_name      = "crm-tokens"
    kv_mount      = "kv"
    secrets_path  = "crm/prod"
  }

  assert {
    condition = alltrue(flatten([for policy in values(output.policies) : [for path in regexall("(?m)^path \"([^\"]+)\"", policy) :
      can(regex("^team/transit/[a-z/]+/crm-tokens(/[a-z]+)?$|^kv/[a-z]+/crm/prod(/\\*)?$", path[0]))
    ]]))
    error_message = "no path keeps a name of the files"
  }
  assert {
    condition     = strcontains(output.policies["service"], "path \"team/transit/datakey/plaintext/crm-tokens\"") && strcontains(output.policies["rotation"], "path \"team/transit/keys/crm-tokens/rotate\"")
    error_message = "the operation stays between mount and key"
  }
  assert {
    condition     = strcontains(output.policies["secrets-writer"], "path \"kv/metadata/crm/prod\"") && strcontains(output.policies["secrets-writer"], "path \"kv/metadata/crm/prod/*\"")
    error_message = "the list of secrets and the secrets"
  }
  assert {
    condition     = output.key_id == "vault:team/transit/crm-tokens"
    error_message = "KMS_KEY_ID names mount and key"
  }
}

run "a_key_with_a_wildcard_is_refused" {
  command         = plan
  expect_failures = [var.key_name]
  variables {
    key_name = "tokens*"
  }
}

run "a_path_with_a_wildcard_is_refused" {
  command         = plan
  expect_failures = [var.secrets_path]
  variables {
    secrets_path = "+/prod"
  }
}

run "a_mount_that_begins_with_a_slash_is_refused" {
  command         = plan
  expect_failures = [var.transit_mount]
  variables {
    transit_mount = "/transit"
  }
}

run "a_mount_that_ends_with_a_slash_is_refused" {
  command         = plan
  expect_failures = [var.kv_mount]
  variables {
    kv_mount = "secret/"
  }
}
