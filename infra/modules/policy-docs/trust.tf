# Who may assume the roles: one service account, never a whole namespace or cluster.
locals {
  irsa_issuer = var.irsa == null ? "" : replace(var.irsa.provider_arn, "/^.*:oidc-provider\\//", "")

  irsa_statements = [for irsa in var.irsa[*] : {
    Sid       = "ServiceAccounts"
    Effect    = "Allow"
    Principal = { Federated = irsa.provider_arn }
    Action    = "sts:AssumeRoleWithWebIdentity"
    Condition = {
      StringEquals = {
        "${local.irsa_issuer}:aud" = "sts.amazonaws.com"
        "${local.irsa_issuer}:sub" = [for account in irsa.service_accounts : "system:serviceaccount:${replace(account, "/", ":")}"]
      }
    }
  }]

  pod_identity_statements = [for pod in var.pod_identity[*] : {
    Sid       = "PodIdentity"
    Effect    = "Allow"
    Principal = { Service = "pods.eks.amazonaws.com" }
    Action    = ["sts:AssumeRole", "sts:TagSession"]
    Condition = {
      StringEquals = merge(
        {
          "aws:RequestTag/kubernetes-namespace"       = pod.namespace
          "aws:RequestTag/kubernetes-service-account" = pod.service_account
        },
        pod.cluster_arn == null ? {} : { "aws:RequestTag/eks-cluster-arn" = pod.cluster_arn },
      )
    }
  }]
}
