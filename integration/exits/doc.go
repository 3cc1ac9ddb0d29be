// Package exits tests a record that ends its process, on two nodes in processes of their own: it becomes a dead letter, and nothing else does.
package exits
