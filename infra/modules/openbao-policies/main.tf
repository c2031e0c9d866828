# The policies of infra/openbao, for mounts, a key and a path of the caller's own. The files themselves are for transit, tokens and
# secret/app: each path in them is rewritten.
locals {
  files = "${path.module}/../../openbao/policies"

  policies = { for file in fileset(local.files, "*.hcl") : trimsuffix(file, ".hcl") => replace(
    replace(
      file("${local.files}/${file}"),
      "/path \"transit/([a-z/]+)/tokens(/[a-z]+)?\"/", "path \"${var.transit_mount}/$1/${var.key_name}$2\""
    ),
    "/path \"secret/([a-z]+)/app(/\\*)?\"/", "path \"${var.kv_mount}/$1/${var.secrets_path}$2\""
  ) }
}
