// Command cleanup deletes the generated files beside the API types, so that the generator starts afresh.
package main

import (
	"os"

	"github.com/rancher/wrangler/v3/pkg/cleanup"
	"github.com/sirupsen/logrus"
)

func main() {
	if err := cleanup.Cleanup("./pkg/apis"); err != nil {
		logrus.Fatal(err)
	}
	if err := os.RemoveAll("./pkg/generated"); err != nil {
		logrus.Fatal(err)
	}
}
