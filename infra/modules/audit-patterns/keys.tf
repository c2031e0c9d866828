# Events about keys. A key is named by its ARN in resources where the request came through, otherwise by the caller's spelling:
# its id or its ARN, so both are compared by their end.
locals {
  own_ids   = [for arn in var.key_arns : split("/", arn)[1]]
  other_ids = [for arn in var.watched_key_arns : split("/", arn)[1]]
  all_ids   = concat(local.own_ids, local.other_ids)

  key_at_risk = length(local.all_ids) == 0 ? ["${local.from.kms} && ${local.any.key_at_risk}"] : [
    for ids in chunklist(local.all_ids, 4) : "${local.from.kms} && ${local.any.key_at_risk} && (${join(" || ", flatten([for id in ids : [
      "($.resources[0].ARN = \"*${id}\")", "($.requestParameters.keyId = \"*${id}\")",
    ]]))})"
  ]

  # An alias's event names alias and key, in either order.
  key_changed = concat(
    length(local.all_ids) == 0 ? ["${local.from.kms} && ${local.any.key_changed}"] : [
      for ids in chunklist(local.all_ids, 2) : "${local.from.kms} && ${local.any.key_changed} && (${join(" || ", flatten([for id in ids : [
        "($.resources[0].ARN = \"*${id}\")", "($.resources[1].ARN = \"*${id}\")",
        "($.requestParameters.keyId = \"*${id}\")", "($.requestParameters.targetKeyId = \"*${id}\")",
      ]]))})"
    ],
    length(local.all_ids) == 0 ? [] : [for names in chunklist(var.alias_names, 2) :
      "${local.from.kms} && ${local.any.alias} && (${join(" || ", [for name in names : "($.requestParameters.aliasName = \"${name}\")"])})"
    ],
    [for names in chunklist(var.role_names, 3) :
      "${local.from.iam} && ${local.any.role} && (${join(" || ", [for name in names : "($.requestParameters.roleName = \"${name}\")"])})"
    ],
  )

  decrypt_calls = length(local.own_ids) == 0 ? ["${local.from.kms} && ${local.any.decrypt}"] : [
    for ids in chunklist(local.own_ids, 5) : "${local.from.kms} && ${local.any.decrypt} && (${join(" || ", flatten([for id in ids : [
      "($.resources[0].ARN = \"*${id}\")", "($.resources[1].ARN = \"*${id}\")",
    ]]))})"
  ]

  denied = "${local.from.kms} && ($.errorCode = \"AccessDenied*\")"

  # A denied request may lack the key's ARN. The message names the key in most cases; a Decrypt that names none is counted,
  # by any caller, because its ciphertext may be ours.
  unauthorized = length(local.all_ids) == 0 ? [local.denied] : concat(
    [for ids in chunklist(local.all_ids, 3) : "${local.denied} && (${join(" || ", flatten([for id in ids : [
      "($.resources[0].ARN = \"*${id}\")", "($.requestParameters.keyId = \"*${id}\")", "($.errorMessage = \"*${id}*\")",
    ]]))})"],
    ["${local.denied} && ${local.any.decrypt} && ($.resources[0].ARN NOT EXISTS) && ($.requestParameters.keyId NOT EXISTS) && ($.errorMessage != \"*:key/*\")"],
    [for names in chunklist(var.alias_names, 2) :
      "${local.denied} && (${join(" || ", [for name in names : "($.requestParameters.keyId = \"*${name}\")"])})"
    ],
    [for names in chunklist(var.role_names, 5) :
      "${local.denied} && (${join(" || ", [for name in names : "($.userIdentity.sessionContext.sessionIssuer.userName = \"${name}\")"])})"
    ],
  )
}
