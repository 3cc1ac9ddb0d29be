// Package crashpoint names the steps at which tests let a process die. In a build without the tag `crashpoints` a step does
// nothing: released programs have none.
package crashpoint
