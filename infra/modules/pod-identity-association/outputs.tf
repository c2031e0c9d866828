output "association_id" {
  description = "The association's id."
  value       = aws_eks_pod_identity_association.this.association_id
}
