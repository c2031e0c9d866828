resource "aws_eks_pod_identity_association" "this" {
  cluster_name    = var.cluster_name
  namespace       = split("/", var.service_account)[0]
  service_account = split("/", var.service_account)[1]
  role_arn        = var.role_arn
  tags            = var.tags
}
