package main

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/CycloneDX/cyclonedx-go"
)

// settleSBOM returns an SBOM in which the operator has the released version, and the generator has no hashes: those
// differ between machines.
func settleSBOM(content []byte, version string) ([]byte, error) {
	bom, err := decodeSBOM(content)
	if err != nil {
		return nil, err
	}
	if bom.Metadata == nil || bom.Metadata.Component == nil || bom.Metadata.Component.Version == "" {
		return nil, errors.New("metadata.component has no version; make the SBOM with scripts/sbom")
	}
	// The version is also in the references to the component.
	main := bom.Metadata.Component
	content = bytes.ReplaceAll(content, []byte(main.Name+"@"+main.Version), []byte(main.Name+"@"+version))
	if bom, err = decodeSBOM(content); err != nil {
		return nil, err
	}
	bom.Metadata.Component.Version = version
	if tools := bom.Metadata.Tools; tools != nil && tools.Tools != nil {
		for i := range *tools.Tools {
			(*tools.Tools)[i].Hashes = nil
		}
	}

	var settled bytes.Buffer
	encoder := cyclonedx.NewBOMEncoder(&settled, cyclonedx.BOMFileFormatJSON).SetPretty(true)
	if err := encoder.Encode(bom); err != nil {
		return nil, fmt.Errorf("writing CycloneDX: %w", err)
	}
	return settled.Bytes(), nil
}

func decodeSBOM(content []byte) (*cyclonedx.BOM, error) {
	bom := new(cyclonedx.BOM)
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(content), cyclonedx.BOMFileFormatJSON).Decode(bom); err != nil {
		return nil, fmt.Errorf("it is no CycloneDX JSON: %w", err)
	}
	return bom, nil
}
