# Who may assume the roles: named service accounts, never a whole namespace or cluster.
locals {
  irsa_providers = var.irsa == null ? [] : concat(var.irsa.provider_arn[*], var.irsa.provider_arns)

  # One statement for each cluster: the names of the conditions contain the cluster's own issuer.
  irsa_statements = [for index, provider in local.irsa_providers : {
    Sid       = "ServiceAccounts${index == 0 ? "" : index + 1}"
    Effect    = "Allow"
    Principal = { Federated = provider }
    Action    = "sts:AssumeRoleWithWebIdentity"
    Condition = {
      StringEquals = {
        "${replace(provider, "/^.*:oidc-provider\\//", "")}:aud" = var.irsa.audience
        "${replace(provider, "/^.*:oidc-provider\\//", "")}:sub" = [for account in var.irsa.service_accounts : "system:serviceaccount:${replace(account, "/", ":")}"]
      }
    }
  }]

  pod_accounts = var.pod_identity == null ? [] : concat(
    var.pod_identity.service_account == null ? [] : ["${var.pod_identity.namespace}/${var.pod_identity.service_account}"],
    var.pod_identity.service_accounts,
  )
  pod_clusters = var.pod_identity == null ? [] : concat(var.pod_identity.cluster_arn[*], var.pod_identity.cluster_arns)

  # One statement for each service account: lists of namespaces and names in one statement would also allow every mixture.
  pod_identity_statements = [for index, account in local.pod_accounts : {
    Sid       = "PodIdentity${index == 0 ? "" : index + 1}"
    Effect    = "Allow"
    Principal = { Service = "pods.eks.amazonaws.com" }
    Action    = ["sts:AssumeRole", "sts:TagSession"]
    Condition = {
      StringEquals = merge(
        {
          "aws:RequestTag/kubernetes-namespace"       = split("/", account)[0]
          "aws:RequestTag/kubernetes-service-account" = split("/", account)[1]
        },
        length(local.pod_clusters) == 0 ? {} : {
          "aws:RequestTag/eks-cluster-arn" = try(one(local.pod_clusters), local.pod_clusters)
        },
      )
    }
  }]
}
