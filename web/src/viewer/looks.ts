// Materials of surfaces in each mode: their colours with and without light, a mesh of lines, normals.

import * as THREE from 'three';

export type Look = 'natural' | 'unlit' | 'wireframe' | 'normals';

/** Widths by which light of each colour bleeds past the terminator of skin, as cosines. */
const SKIN_BLEED = 'vec3(0.32, 0.14, 0.09)';
/** Opacity below which the soft edges of hair are not drawn. */
const FRINGE_ALPHA = 0.02;
const CORE_ALPHA = 0.5;
const HAIR_GLOSS = 0.15;
/** Reflections of skin, teeth and tongue: none where a dark colour tells of nostrils, folds and the throat. */
const OPEN_GLOSS = '0.6 * smoothstep( 0.0, 0.12, diffuseColor.g )';

type Materials = THREE.Material | THREE.Material[];

/** Keeps what a surface looks like in each mode, and switches between them. */
export class SurfaceLooks {
  private readonly meshes: THREE.Mesh[] = [];
  private readonly natural = new Map<THREE.Mesh, Materials>();
  private readonly others = new Map<Look, Map<THREE.Mesh, Materials>>();
  private readonly fringes: THREE.Mesh[] = [];
  private readonly lines: THREE.Mesh[] = [];
  private current: Look | null = null;

  constructor(root: THREE.Object3D) {
    root.traverse((part) => {
      if (part instanceof THREE.Mesh) this.meshes.push(part);
    });
    for (const mesh of this.meshes) {
      mesh.castShadow = mesh.receiveShadow = true;
      mesh.frustumCulled = false;
      for (const material of listed(mesh.material)) refine(material, mesh);
      this.natural.set(mesh, mesh.material);
      if (listed(mesh.material).some((material) => isSoft(material))) this.fringes.push(withFringe(mesh));
    }
  }

  show(look: Look): void {
    if (look === this.current) return;
    this.current = look;
    for (const mesh of this.meshes) mesh.material = this.materials(mesh, look);
    for (const fringe of this.fringes) fringe.visible = look === 'natural';
    for (const line of this.linesOf(look)) line.visible = look === 'wireframe';
  }

  get triangles(): number {
    return this.meshes.reduce((sum, { geometry }) => {
      return sum + (geometry.index ?? geometry.getAttribute('position')).count / 3;
    }, 0);
  }

  dispose(): void {
    for (const made of this.others.values()) for (const each of made.values()) listed(each).forEach((m) => m.dispose());
    for (const part of [...this.fringes, ...this.lines]) {
      part.removeFromParent();
      listed(part.material).forEach((material) => material.dispose());
    }
    for (const [mesh, materials] of this.natural) {
      mesh.geometry.dispose();
      listed(materials).forEach(disposeWithTextures);
    }
  }

  private materials(mesh: THREE.Mesh, look: Look): Materials {
    const natural = this.natural.get(mesh) as Materials;
    if (look === 'natural') return natural;
    const made = this.others.get(look) ?? new Map<THREE.Mesh, Materials>();
    this.others.set(look, made);
    const known = made.get(mesh);
    if (known) return known;
    const make = { unlit: asUnlit, normals: asNormals, wireframe: asClay }[look];
    const materials = Array.isArray(natural) ? natural.map(make) : make(natural);
    made.set(mesh, materials);
    return materials;
  }

  /** Return the meshes of lines over the surface; they are made when they are first asked for. */
  private linesOf(look: Look): THREE.Mesh[] {
    if (look === 'wireframe' && this.lines.length === 0) {
      const material = new THREE.MeshBasicMaterial({ color: 0x1b2a3a, wireframe: true, transparent: true, opacity: 0.55 });
      this.lines.push(...this.meshes.map((mesh) => twin(mesh, material)));
    }
    return this.lines;
  }
}

/** Return a mesh that shares geometry, bones and morph weights with another, as its child. */
function twin(mesh: THREE.Mesh, material: Materials): THREE.Mesh {
  const skinned = mesh instanceof THREE.SkinnedMesh;
  const copy = skinned ? new THREE.SkinnedMesh(mesh.geometry, material) : new THREE.Mesh(mesh.geometry, material);
  if (copy instanceof THREE.SkinnedMesh && skinned) copy.bind(mesh.skeleton, mesh.bindMatrix);
  if (mesh.morphTargetInfluences) {
    copy.morphTargetInfluences = mesh.morphTargetInfluences;
    copy.morphTargetDictionary = mesh.morphTargetDictionary;
  }
  copy.frustumCulled = false;
  copy.userData.isTwin = true;
  mesh.add(copy);
  return copy;
}

function listed(materials: Materials): THREE.Material[] {
  return Array.isArray(materials) ? materials : [materials];
}

function isSoft(material: THREE.Material): boolean {
  return material.userData.hasSoftEdges === true;
}

/** Add what a file's material cannot say: skin that light enters, hair whose edges are soft. */
function refine(material: THREE.Material, mesh: THREE.Mesh): void {
  if (!(material instanceof THREE.MeshStandardMaterial)) return;
  if (material.map) material.map.anisotropy = 8;
  const name = material.name || mesh.name;
  if (/skin/i.test(name)) letLightIn(material);
  if (/teeth|tongue|mouth/i.test(name)) occlude(material);
  if (/hair/i.test(name)) {
    dull(material);
    mesh.receiveShadow = false; // cards that lie on each other would speckle; the photo's shade is in their colours
  }
  const cutOut = material.alphaTest > 0 || material.transparent;
  if (!cutOut || !material.map) return;
  // The opaque core writes depth and needs no order; what is left of the edges is blended over it.
  material.userData.hasSoftEdges = true;
  material.transparent = false;
  material.depthWrite = true;
  material.alphaTest = material.alphaTest || CORE_ALPHA;
  material.alphaToCoverage = true;
}

/** Return the soft edges of cut-out cards: what their opaque core leaves out, drawn after it. */
function withFringe(mesh: THREE.Mesh): THREE.Mesh {
  const soften = (material: THREE.Material): THREE.Material => {
    const soft = material.clone();
    soft.onBeforeCompile = material.onBeforeCompile;
    soft.customProgramCacheKey = material.customProgramCacheKey;
    soft.alphaToCoverage = false;
    soft.alphaTest = FRINGE_ALPHA;
    soft.transparent = true;
    soft.depthWrite = false;
    return soft;
  };
  const { material } = mesh;
  const fringe = twin(mesh, Array.isArray(material) ? material.map(soften) : soften(material));
  fringe.receiveShadow = mesh.receiveShadow;
  fringe.renderOrder = 1;
  return fringe;
}

/** Let the key light bleed past the terminator, red farthest, as it does in skin; keep folds from gleaming. */
function letLightIn(material: THREE.MeshStandardMaterial): void {
  const direct = 'reflectedLight.directDiffuse += irradiance * diffuseBRDF * ( 1.0 - F );';
  material.onBeforeCompile = (shader) => {
    const lights = replaced(
      THREE.ShaderChunk.lights_physical_pars_fragment,
      direct,
      `vec3 bleed = ${SKIN_BLEED};
       vec3 wrapped = max( dot( geometryNormal, directLight.direction ) + bleed, 0.0 ) / ( ( 1.0 + bleed ) * ( 1.0 + bleed ) );
       reflectedLight.directDiffuse += directLight.color * wrapped * diffuseBRDF * ( 1.0 - F );`,
    );
    shader.fragmentShader = replaced(
      replaced(shader.fragmentShader, '#include <lights_physical_pars_fragment>', lights),
      ...gloss(OPEN_GLOSS),
    );
  };
  material.customProgramCacheKey = () => 'skin';
}

/** Keep the dark of the mouth from gleaming. */
function occlude(material: THREE.MeshStandardMaterial): void {
  material.onBeforeCompile = (shader) => {
    shader.fragmentShader = replaced(shader.fragmentShader, ...gloss(OPEN_GLOSS));
  };
  material.customProgramCacheKey = () => 'mouth';
}

/**
 * Take most of the gloss off hair: the photo's own is in its colours, and that of a surface greys black hair.
 * Cards are shaded as one volume, by the same normals from both sides.
 */
function dull(material: THREE.MeshStandardMaterial): void {
  const normals = replaced(THREE.ShaderChunk.normal_fragment_begin, 'normal *= faceDirection;', '');
  material.onBeforeCompile = (shader) => {
    shader.fragmentShader = replaced(
      replaced(shader.fragmentShader, '#include <normal_fragment_begin>', normals),
      ...gloss(`${HAIR_GLOSS}`),
    );
  };
  material.customProgramCacheKey = () => 'hair';
}

/** Return what to replace in a shader so that reflections are weaker by a factor. */
function gloss(factor: string): [string, string] {
  const include = '#include <lights_physical_fragment>';
  const weaker = ['specularColor', 'specularColorBlended', 'specularF90'].map((name) => `material.${name} *= ${factor};`);
  return [include, [include, ...weaker].join('\n')];
}

function replaced(shader: string, old: string, by: string): string {
  if (!shader.includes(old)) throw new Error('a material does not fit this version of three.js');
  return shader.replace(old, by);
}

/** Colours that are world normals, (n + 1) / 2. */
function asNormals(material: THREE.Material): THREE.Material {
  const plain = plainCopy(material);
  plain.onBeforeCompile = (shader) => {
    shader.fragmentShader = shader.fragmentShader
      .replace(
        '#include <opaque_fragment>',
        '#include <opaque_fragment>\ngl_FragColor.rgb = 0.5 + 0.5 * normalize( inverseTransformDirection( normal, viewMatrix ) );',
      )
      .replace('#include <tonemapping_fragment>', '')
      .replace('#include <colorspace_fragment>', '');
  };
  plain.customProgramCacheKey = () => 'normals';
  return plain;
}

/** The colours of the file as they are. */
function asUnlit(material: THREE.Material): THREE.Material {
  const { map = null, color, vertexColors, alphaTest, side } = material as THREE.MeshStandardMaterial;
  return new THREE.MeshBasicMaterial({ map, color, vertexColors, alphaTest, side });
}

/** Light clay under the lines of a wireframe. */
function asClay(material: THREE.Material): THREE.Material {
  const plain = plainCopy(material);
  plain.map = null;
  plain.alphaTest = 0;
  plain.normalMap = null;
  plain.color.set(0xd8d4ce);
  plain.polygonOffset = true;
  plain.polygonOffsetFactor = plain.polygonOffsetUnits = 1;
  return plain;
}

function plainCopy(material: THREE.Material): THREE.MeshStandardMaterial {
  const plain = new THREE.MeshStandardMaterial({ roughness: 0.9, side: material.side, alphaTest: material.alphaTest });
  const from = material as Partial<THREE.MeshStandardMaterial>;
  plain.map = from.map ?? null;
  plain.normalMap = from.normalMap ?? null;
  if (from.normalScale) plain.normalScale.copy(from.normalScale);
  plain.flatShading = from.flatShading ?? false;
  return plain;
}

function disposeWithTextures(material: THREE.Material): void {
  for (const value of Object.values(material)) if (value instanceof THREE.Texture) value.dispose();
  material.dispose();
}
