# Every target calls one script. "make demo" and "make test" are all that a newcomer needs.

.PHONY: build package demo demo-vault demo-vsecm test test-install generate lint bench lab-up lab-down fuzz sbom

build: ## Build bin/fleet-handshake
	./scripts/build

package: ## Write charts, image and the index of a Helm repository to dist/
	./scripts/package

demo: ## Watch a Secret travel to three real clusters
	./scripts/demo

demo-vault: ## Watch what a real Vault holds and makes travel to real clusters
	./scripts/demo vault

demo-vsecm: ## Watch what VMware Secrets Manager holds travel to real clusters, with a real SPIRE
	./scripts/demo vsecm

test: ## Run every test
	./scripts/test

test-install: ## Install charts and image on a real node, with Helm and from a GitRepo
	./scripts/test-install

generate: ## Write what is generated from the API types
	./scripts/generate

lint: ## Check formatting, vet and lint
	./scripts/lint

bench: ## Measure memory and speed
	./scripts/bench

fuzz: ## Fuzz the pure packages, and send 10,000 mutated objects to the operator
	./scripts/fuzz

sbom: ## Write what the operator is built from to bin/fleet-handshake.cdx.json
	./scripts/sbom

lab-up: ## Start a hub and three downstream clusters to explore; with NODE=1 a hub and one cluster with real nodes
	./scripts/lab up $(if $(NODE),--nodes --downstream 1)

lab-down: ## End them
	./scripts/lab down
